"""The error that teaches."""


class AtlasError(Exception):
    """A mistake that the user can mend.

    The message is one line: the file, the key or tensor, what was found, what was expected, how to mend it.
    """
