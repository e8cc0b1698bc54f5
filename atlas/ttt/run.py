"""Teach one arm to one block of seeds, session by session, and measure what is left at the checkpoints.

An arm that trains, that is: ``atlas.ttt.edit`` is the same for those that edit.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.ttt.carry_out import carry_out
from atlas.ttt.train import trainer
from atlas.workflow.steps import run_step


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one arm and block by the command line; see ``python -m atlas.ttt.run --help``."""
    carry_out("atlas.ttt.run", __doc__, trainer, arguments)


if __name__ == "__main__":
    run_step(main)
