"""User-facing errors."""


class AtlasError(Exception):
    """A mistake that the user can mend.

    The message is one line: the file, the key or tensor, what was found, what was expected, how to mend it.
    """


class DiskFullError(AtlasError):
    """There was no space for an output; nothing of it is left behind, and the same command goes on from there."""


class PluginError(AtlasError):
    """A plugin that is not there, or is not what it has to be.

    A class of its own, since a validator takes up what it says: the messages of all other errors count in no digest.
    """


INSTALL_WORKFLOW = "install the extra workflow: python -m pip install 'atlas-facts[workflow]', in a clone '.[workflow]'"
"""How to mend that a package is missing which everything but the guard needs."""
INSTALL_LM = "install the extra lm: python -m pip install 'atlas-facts[lm]', in a clone -e '.[lm]'"
"""How to mend that a package is missing which only language models from outside need."""
