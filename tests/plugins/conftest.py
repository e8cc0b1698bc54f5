"""An environment with plugins of the test's own."""

from tests.plugins.made_plugins import environment

__all__ = ["environment"]
