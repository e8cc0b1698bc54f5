"""User-facing errors."""


class AtlasError(Exception):
    """A mistake that the user can mend.

    The message is one line: the file, the key or tensor, what was found, what was expected, how to mend it.
    """


class DiskFullError(AtlasError):
    """There was no space for an output; nothing of it is left behind, and the same command goes on from there."""


INSTALL_LM = "install the extra lm; in Atlas's repository: python -m pip install -e '.[lm]'"
"""How to mend that a package is missing which only language models from outside need."""
