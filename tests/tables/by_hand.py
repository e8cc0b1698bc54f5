"""Runs whose every row is written down in the test, for figures worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.tables.runs import Runs, read
from atlas.ttt.run_files import FACTS, MATRIX
from tests.synthetic import Design, SyntheticArm, write_frame, write_run

ARM = SyntheticArm()


def runs_with(
    folder: Path, seeds: Sequence[int], name: str, rows: Sequence[Mapping[str, Any]], arm: str = "qv"
) -> Runs:
    """One run of an arm whose facts or matrix (``name``) hold exactly ``rows``; columns not given are zero, but that
    a fact has one alternative. One without any is not associated, nor the opposite."""
    schema = {"facts": FACTS, "matrix": MATRIX}[name]
    run = write_run(folder / arm / "block", arm, ARM, seeds, Design(tuple(seeds)))
    zero = dict.fromkeys(schema.names, 0) | {"arm": arm, "decoded": "", "alternatives": 1, "base_replica": 1}
    frame = pd.DataFrame([zero | dict(row) for row in rows])
    flags = [field.name for field in schema if field.type == pa.bool_()]
    frame = frame.astype(dict.fromkeys(flags, bool))
    if name == "facts":
        frame["associated"] = frame["associated"].astype(object).where(frame["alternatives"] > 0, None)
    write_frame(run / f"{name}.parquet", frame, schema)
    return read([run])


def answers(
    probe: str, seed: int, domain: str, scores: Sequence[Any], column: str = "recalled"
) -> list[dict[str, Any]]:
    """A row for each form of each fact after one session; a fact is a score, or a list of scores by form."""
    paraphrases = [score if isinstance(score, list) else [score] for score in scores]
    return [
        {
            "seed": seed,
            "sessions": 1,
            "probe": probe,
            "fact_id": f"{domain}/{probe}/{fact}",
            "form": form,
            "domain": domain,
            "session_taught": None if probe == "placebo" else 1,
            column: score,
        }
        for fact, of_fact in enumerate(paraphrases)
        for form, score in enumerate(of_fact)
    ]


def only(frame: pd.DataFrame, **where: Any) -> pd.Series:
    """The one row of a frame with these values; fails where there is none or more than one."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]
