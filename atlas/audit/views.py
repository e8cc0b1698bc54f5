"""What each view sees of the damage, by subject and family: the guard's table of detection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.audit.audit_columns import DETECTION, LEVELS, VIEWS
from atlas.audit.detection_rates import changed, felt, seen
from atlas.workflow import files, progress
from atlas.workflow.digest import code_digest
from atlas.workflow.steps import parser, run_step

ALL = "all"


def main(arguments: Sequence[str] | None = None) -> None:
    """Count by the command line; see ``python -m atlas.audit.views --help``."""
    options = parser(__doc__)
    options.add_argument("--detection", type=Path, required=True, help="detection.parquet")
    options.add_argument("--out", type=Path, required=True, help="Parquet table to write")
    args = options.parse_args(arguments)
    rows = files.read_parquet(args.detection, DETECTION).to_pandas()
    step = "atlas.audit.views"
    counted = list(by_view(rows))
    provenance = {"step": step, "code_digest": code_digest(step)}
    files.write_parquet(args.out, pa.Table.from_pylist(counted, VIEWS), provenance)
    for level in LEVELS:
        progress.say(f"guard: {level}: sees {seen(rows[felt(rows)], level)} that are felt")


def by_view(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of ``VIEWS`` from rows of ``DETECTION``: for each subject and family, and for all of either."""
    for subject in (ALL, *dict.fromkeys(rows["subject"])):
        of_subject = rows if subject == ALL else rows[rows["subject"] == subject]
        for family in (ALL, *dict.fromkeys(of_subject["family"])):
            some = of_subject if family == ALL else of_subject[of_subject["family"] == family]
            costly, other = some[felt(some)], some[changed(some)]
            yield {
                "subject": subject,
                "family": family,
                "damages": len(some),
                "felt": len(costly),
                "changed": len(other),
                **{f"seen_{level}": seen(costly, level).hits for level in LEVELS},
                "changed_seen_manifest": seen(other, "manifest").hits,
            }


if __name__ == "__main__":
    run_step(main)
