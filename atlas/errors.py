"""User-facing errors."""


class AtlasError(Exception):
    """A mistake that the user can mend.

    The message is one line: the file, the key or tensor, what was found, what was expected, how to mend it.
    """


class DiskFullError(AtlasError):
    """There was no space for an output; nothing of it is left behind, and the same command goes on from there."""
