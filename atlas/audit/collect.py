"""Join the parts of the guard's tables: all damage, all honest checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from atlas.audit.audit_columns import DETECTION, HONEST
from atlas.workflow import files, progress
from atlas.workflow.digest import code_digest
from atlas.workflow.steps import parser, run_step

TABLES = {"detection": DETECTION, "false_alarms": HONEST}


def main(arguments: Sequence[str] | None = None) -> None:
    """Join parts by the command line; see ``python -m atlas.audit.collect --help``."""
    options = parser(__doc__)
    options.add_argument("--table", choices=sorted(TABLES), required=True, help="which table the parts are of")
    options.add_argument("--parts", type=Path, nargs="+", required=True, help="Parquet tables to join")
    options.add_argument("--out", type=Path, required=True, help="Parquet table to write")
    args = options.parse_args(arguments)
    joined = pa.concat_tables([files.read_parquet(part, TABLES[args.table]) for part in args.parts])
    keys = [(name, "ascending") for name in TABLES[args.table].names[:5]]
    step = "atlas.audit.collect"
    sources = sorted(filter(None, {files.provenance_of(part).get("code_digest") for part in args.parts}))
    provenance = {"step": step, "code_digest": code_digest(step), "part_code_digests": sources}
    files.write_parquet(args.out, joined.sort_by(keys), provenance)
    progress.say(f"guard: {joined.num_rows} rows, see {args.out}")


if __name__ == "__main__":
    run_step(main)
