"""Write facts into one arm's matrices by an editor, session by session, and measure what is left at the checkpoints.

As ``atlas.ttt.run`` for arms that train, and with the same files; a step of its own, so that a change of the editors
reruns no training.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.ttt.editors.writer import editing
from atlas.ttt.run import carry_out
from atlas.workflow.steps import run_step


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one arm and block by the command line; see ``python -m atlas.ttt.edit --help``."""
    carry_out("atlas.ttt.edit", __doc__, editing, arguments)


if __name__ == "__main__":
    run_step(main)
