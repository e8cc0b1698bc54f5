"""Retention of the ablations of the recipe, each beside the arm that it varies."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from atlas.errors import AtlasError
from atlas.tables import retention, table_step
from atlas.tables.columns import ABLATIONS
from atlas.tables.runs import Runs
from atlas.ttt.run_files import RunRecord
from atlas.workflow.steps import run_step


def table(runs: Runs, references: Sequence[str]) -> pa.Table:
    """The retention table with the columns ``reference`` and ``variant``, after the sessions that all of them have.

    Raises AtlasError where an arm has the placement of none of the references.
    """
    reference = {arm: reference_of(arm, runs, references) for arm in runs.arms}
    frame = retention.frame(runs)
    shared = frame.groupby("sessions")["arm"].transform("nunique") == len(runs.arms)  # ablations may stop early
    frame = frame[shared].copy()
    frame["reference"] = frame["arm"].map(reference)
    frame["variant"] = [variant(arm, reference[arm], runs) for arm in frame["arm"]]
    return table_step.as_table(frame, ABLATIONS)


def reference_of(arm: str, runs: Runs, references: Sequence[str]) -> str:
    """The reference with the same placement: targets, ranks and base; a reference is its own."""
    if arm in references:
        return arm
    mine = runs.first(arm)
    for name in references:
        if name in runs.arms and _placement(runs.first(name)) == _placement(mine):
            return name
    raise AtlasError(
        f"ablation {arm!r} (targets {','.join(mine.targets)}) has the placement of no arm among "
        f"{', '.join(references) or 'none'}; add that arm to `arms` in the study, to compare the ablation with"
    )


def variant(arm: str, reference: str, runs: Runs) -> str:
    """What a recipe is called: the preset for a reference, else the arm's name without the reference's."""
    return runs.first(arm).recipe.preset if arm == reference else arm.removeprefix(f"{reference}_")


def _placement(record: RunRecord) -> tuple[object, ...]:
    return set(record.targets), record.ranks, set(record.reinit)


def main() -> None:
    """Write ablations.parquet for the runs given."""
    arguments = table_step.options(__doc__)
    arguments.add_argument("--references", nargs="+", required=True, help="arms that the others vary")
    args = arguments.parse_args()
    runs = table_step.runs_of(args)
    table_step.write("atlas.tables.ablations", args.out, table(runs, args.references), runs)


if __name__ == "__main__":
    run_step(main)
