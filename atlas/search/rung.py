"""One rung of the search for one arm, or a part of it: try the candidates that the rung before left.

For an arm that trains, that is: ``atlas.search.edit_rung`` is the same for those that edit.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.search.carry_out import carry_out
from atlas.ttt.train import trainer
from atlas.workflow.steps import run_step


def main(arguments: Sequence[str] | None = None) -> None:
    """Try a rung's candidates by the command line; see ``python -m atlas.search.rung --help``."""
    carry_out("atlas.search.rung", __doc__, trainer, arguments)


if __name__ == "__main__":
    run_step(main)
