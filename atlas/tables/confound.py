"""The confound: each arm on the certified base beside the same arm on a mis-loaded one, paired by seed.

A pair is an arm whose study leaves roles of the base at a fresh initialisation, and the arm that differs from it in
nothing else. Each block of seeds has a draw of its own on its base; a row says how many bases and draws it rests on.
What verification says of the weights of one block stands in every row, and is about these very weights: their
fingerprint must be the one that the runs of that block trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from atlas.audit.misload_report import Misload, MisloadReport
from atlas.errors import AtlasError
from atlas.guard.report import Certificate
from atlas.study.settings import explain
from atlas.tables import table_step
from atlas.tables.columns import CONFOUND
from atlas.tables.contrasts import Paired
from atlas.tables.runs import Runs
from atlas.tables.scores import ALL
from atlas.ttt.run_files import RunRecord
from atlas.workflow import files
from atlas.workflow.steps import run_step


def table(runs: Runs, misloads: Sequence[Misload], origin: str) -> pa.Table:
    """Per pair, checkpoint, probe and metric: one row over all seeds, then one a seed with its difference alone.

    ``origin`` is the file of the misloads. Raises AtlasError where none of them is what a run of its seeds trained on.
    """
    paired = Paired.of(runs)
    rows: list[dict[str, Any]] = []
    for arm, other in pairs(runs):
        about = {"arm": arm, "arm_reinit": other, **_verdicts(runs.of(other), misloads, origin)}
        for found in paired.compare(other, arm).values():
            if found.cell.domain != ALL:
                continue
            diff, values = found.diff, {"value": found.value_b, "value_reinit": found.value_a}
            cell = about | asdict(found.cell) | {"n_facts": diff.n_facts, "left_out": diff.left_out}
            cell |= {"bases": runs.bases(diff.exact), "draws": runs.draws(other, diff.exact)}
            rows.append(cell | asdict(diff) | values | {"diff": diff.value, "p_value": found.p_value})
            for seed, difference in diff.exact.items():
                rows.append(cell | {"n_seeds": diff.n_seeds, "seed": seed, "diff": float(difference)})
    return table_step.as_table(rows, CONFOUND)


def pairs(runs: Runs) -> list[tuple[str, str]]:
    """Arms that differ in nothing but roles of their base left at a fresh initialisation: (certified, mis-loaded)."""
    first = {arm: runs.first(arm) for arm in runs.arms}
    return [
        (arm, other)
        for arm, record in first.items()
        for other, changed in first.items()
        if changed.reinit and not record.reinit and _placement(changed) == _placement(record)
    ]


def _placement(record: RunRecord) -> tuple[object, ...]:
    return record.method, record.editing, record.plugged, set(record.targets), record.ranks, record.recipe


def _verdicts(records: Sequence[RunRecord], misloads: Sequence[Misload], origin: str) -> dict[str, Any]:
    """What verification said of the weights that the runs of an arm trained on, in one of its blocks."""
    for record, misload in product(records, misloads):
        if (record.seeds, record.frozen.at_start) == (misload.seeds, misload.fingerprint):
            return {
                "reinit": ",".join(record.reinit),
                "refused_by": _refusal(misload.without_manifest),
                "refused_by_manifest": _refusal(misload.with_manifest),
                "refused_seeds": ",".join(map(str, misload.seeds)),
            }
    trained = ", ".join(f"{record.frozen.at_start} (seeds {record.seeds})" for record in records)
    raise AtlasError(
        f"{origin}: no mis-loaded base is one that arm {records[0].arm!r} trained on: {trained}; "
        "make it again with atlas.audit.misload from the same base"
    )


def _refusal(certificate: Certificate) -> str:
    """The checks that failed; empty where the base was accepted."""
    return ",".join(check.name for check in certificate.checks if not check.passed)


def read_misloads(path: Path) -> list[Misload]:
    """Read misloaded.json. Raises AtlasError where it is missing or another file."""
    try:
        return MisloadReport.model_validate(files.read_json(path)).misloads
    except ValidationError as error:
        raise AtlasError(f"{path}: {explain(error)}; make it again with atlas.audit.misload") from None


def main() -> None:
    """Write confound.parquet for the runs given."""
    arguments = table_step.options(__doc__)
    arguments.add_argument("--misloads", type=Path, required=True, help="misloaded.json of atlas.audit.misload")
    args = arguments.parse_args()
    runs = table_step.runs_of(args)
    found = table(runs, read_misloads(args.misloads), str(args.misloads))
    table_step.write("atlas.tables.confound", args.out, found, runs)


if __name__ == "__main__":
    run_step(main)
