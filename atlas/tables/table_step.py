"""How every table step begins and ends: the runs given, columns as declared, provenance in the footer.

The same runs give the same bytes.
"""

from __future__ import annotations

import subprocess
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import pyarrow as pa

from atlas.metrics import contract
from atlas.study.settings import Settings
from atlas.tables.runs import Runs, read
from atlas.workflow import files
from atlas.workflow.digest import ROOT, code_digest
from atlas.workflow.progress import say
from atlas.workflow.steps import add_spec, environment, parser, run_step


def options(doc: str | None) -> ArgumentParser:
    """The command line that all table steps share: ``--runs``, ``--out`` and ``--log``."""
    arguments = parser(doc)
    arguments.add_argument(
        "--runs",
        type=Path,
        nargs="+",
        required=True,
        help="run folders, results/ttt/ARM/BLOCK, or a text file (.txt) that lists them, one a line",
    )
    arguments.add_argument("--out", type=Path, required=True, help="Parquet table to write")
    return arguments


def step(module: str, doc: str | None, table: Callable[..., pa.Table], spec: type[Settings] | None = None) -> NoReturn:
    """Run the step of a table that takes runs, and ``spec`` where there is one; errors as ``run_step`` says them."""
    run_step(partial(make, module, doc, table, spec))


def make(module: str, doc: str | None, table: Callable[..., pa.Table], spec: type[Settings] | None = None) -> None:
    """Make by the command line a table that takes runs, and ``spec`` where there is one."""
    arguments = options(doc)
    if spec:
        add_spec(arguments, spec)
    args = arguments.parse_args()
    runs = runs_of(args)
    write(module, args.out, table(runs, args.spec) if spec else table(runs), runs)


def runs_of(args: Namespace) -> Runs:
    """The runs that ``--runs`` names. AtlasError where they may not be compared."""
    folders = tuple(files.listed(args.runs))
    return _read(folders, tuple(map(_written, folders)))


@lru_cache(maxsize=1)
def _read(folders: tuple[Path, ...], _written: tuple[int, ...]) -> Runs:
    """Tables that one process makes share their runs, as long as these are the same files."""
    return read(folders)


def _written(folder: Path) -> int:
    record = folder / "run.json"
    return record.stat().st_mtime_ns if record.exists() else 0


def as_table(rows: pd.DataFrame | Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table in the order and types of ``schema``; NaN becomes null, a metric gets its contract."""
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows), columns=schema.names)
    unsaid = "contract" not in frame or frame["contract"].isna().all()
    if "contract" in schema.names and "metric" in schema.names and unsaid:
        frame = frame.assign(contract=frame["metric"].map(contract))
    return pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False).replace_schema_metadata(None)


def write(module: str, out: Path, table: pa.Table, runs: Runs) -> None:
    """Write a table that ``module`` made from ``runs``."""
    files.write_parquet(out, table, provenance(module, runs))
    say(f"tables {out.stem}: {table.num_rows} rows from {len(runs.records)} runs, see {out}")


def provenance(module: str, runs: Runs) -> dict[str, Any]:
    """What a table rests on. No time, host or path: the same runs give the same bytes."""
    return {
        "step": module,
        "commit": commit(),
        "base_fingerprints": runs.fingerprints,
        "code_digest": code_digest(module),
        "run_code_digests": {record.arm: record.code_digest for record in runs.records},
        "seeds": runs.seeds,
        "precision": runs.records[0].precision,
        "run_versions": runs.records[0].versions,
        "versions": environment("numpy", "pandas", "pyarrow")["versions"],
    }


def commit() -> str | None:
    """The git commit that Atlas runs from, ``-dirty`` after it with changes not committed; None without git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
