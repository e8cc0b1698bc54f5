"""The tables of a study as charts and the page read them: checked against their schemas, missing values as NaN."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from atlas.audit import audit_columns
from atlas.errors import AtlasError
from atlas.tables import columns
from atlas.ttt.editors import trace_columns
from atlas.workflow import files


class Table:
    """A table of ``Tables``, called as its attribute is; it is read when asked for."""

    def __init__(self, expected: pa.Schema, may_be_empty: bool = False) -> None:
        self.expected, self.may_be_empty = expected, may_be_empty

    def __set_name__(self, owner: type[Tables], name: str) -> None:
        self.name = name

    def __get__(self, tables: Tables, owner: type[Tables] | None = None) -> pd.DataFrame:
        path = tables.folder / f"{self.name}.parquet"
        frame: pd.DataFrame = files.read_parquet(path, self.expected).to_pandas()
        if frame.empty and not self.may_be_empty:
            raise AtlasError(f"{path}: no rows; expected at least one, so make it again from finished runs")
        return frame


@dataclass(frozen=True)
class Tables:
    """A folder of tables. AtlasError where one that is asked for is missing, damaged or empty."""

    folder: Path
    order: tuple[str, ...] = ()

    arms = Table(columns.ARMS)
    retention = Table(columns.RETENTION)
    association = Table(columns.ASSOCIATION, may_be_empty=True)  # where no fact has an alternative yet
    wrong_answers = Table(columns.WRONG_ANSWERS, may_be_empty=True)  # where every answer is right
    curve = Table(columns.CURVE)
    matrix = Table(columns.MATRIX)
    base_loss = Table(columns.BASE_LOSS)
    contrasts = Table(columns.CONTRASTS)
    continual = Table(columns.CONTINUAL)
    claims = Table(columns.CLAIMS)
    speedrun = Table(columns.SPEEDRUN)
    capacity = Table(columns.CAPACITY)
    paraphrases = Table(columns.PARAPHRASES)
    variance = Table(columns.VARIANCE)
    ablations = Table(columns.ABLATIONS)
    confound = Table(columns.CONFOUND)
    locate = Table(columns.LOCATE)
    locate_by_age = Table(columns.LOCATE_BY_AGE)
    locate_shares = Table(columns.LOCATE_SHARES)
    baselines = Table(columns.BASELINES)
    baseline_claims = Table(columns.BASELINE_CLAIMS, may_be_empty=True)  # where it has not the arms of any claim
    map = Table(columns.MAP)
    knowledge = Table(columns.KNOWLEDGE)
    knowledge_contrasts = Table(columns.KNOWLEDGE_CONTRASTS, may_be_empty=True)  # where the study plans no contrast
    controls = Table(columns.CONTROLS, may_be_empty=True)  # where no arm of the study is untrained
    recipes = Table(columns.RECIPES)  # of the search; its arms need not be arms of the study
    trace = Table(trace_columns.TRACE, may_be_empty=True)  # beside the runs; where the base knows nothing to be traced
    detection = Table(audit_columns.DETECTION)  # beside the guard's other files
    false_alarms = Table(audit_columns.HONEST)

    @property
    def names(self) -> list[str]:
        """Names of the arms in the order of the study: ``order``, or else as in the table of arms."""
        return list(self.order or self.arms["arm"])

    @property
    def trace_window(self) -> int:
        """Layers whose feed-forward or attention parts the trace put back together."""
        return int(files.provenance_of(self.folder / "trace.parquet").get("spec", {}).get("window") or 1)

    def has(self, name: str) -> bool:
        """Whether the study has a table of this name."""
        return (self.folder / f"{name}.parquet").is_file()
