"""One rung of the search for one editor, or a part of it: try the settings that are due.

As ``atlas.search.rung`` for arms that train, and with the same file; a step of its own, so that a change of the editors
searches for no recipe again.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.search.rung import carry_out
from atlas.ttt.editors.writer import editing
from atlas.workflow.steps import run_step


def main(arguments: Sequence[str] | None = None) -> None:
    """Try a rung's candidates by the command line; see ``python -m atlas.search.edit_rung --help``."""
    carry_out("atlas.search.edit_rung", __doc__, editing, arguments)


if __name__ == "__main__":
    run_step(main)
