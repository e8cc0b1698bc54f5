"""Charts that follow what a reader chooses: arms, a metric, sessions. What the page's script needs to know of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

ROWS = "rows"
"""Name of the data in every chart: the script fills it with the rows that are chosen."""
TOP = "top"
"""Name of the parameter that ends a scale where several small charts must share it."""

NARROW = alt.ExprRef("width < 330 ? 1 : 2")
"""Columns of a legend: one on a phone."""

HALF = alt.ExprRef("max(110, containerSize()[0] / 2.2)")
"""Pixels of the longest label beside a chart: less than half of what there is."""

SHARE, POINTS, NATS, COUNT, TEXT = "share", "points", "nats", "count", "text"
"""How the script writes a figure."""


@dataclass(frozen=True)
class Figure:
    """An interactive chart and the rows behind it.

    Arms, metric and sessions are chosen for all charts together; a row is shown where it is of a chosen arm (in one
    of the columns ``arms``; a column may hold a list), of the metric, and of the sessions (``until``: up to them).
    """

    name: str
    table: str  # of the page's data: charts that name the same one share its rows
    rows: pd.DataFrame
    chart: alt.TopLevelMixin
    columns: Mapping[str, tuple[str, str]]  # heading to column and kind, of the table below the chart
    said: Mapping[
        tuple[str, int], tuple[str, str]
    ]  # metric ("" for any) and sessions to a finding and what it rests on
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)  # rows that belong to this chart, by column
    arms: Sequence[str] = ("arm",)
    sessions: str = "sessions"
    until: bool = False
    repeat: bool = False  # one small chart an arm, the others' rows behind it
    top: str = ""  # the column whose greatest value ends a shared scale

    def described(self) -> dict[str, Any]:
        """The figure without its rows, for JSON."""
        mine = self.rows
        for column, values in self.where.items():
            mine = mine[mine[column].isin(values)]
        return {
            "table": self.table,
            "spec": compiled(self.chart),
            "columns": [[heading, *what] for heading, what in self.columns.items()],
            "said": {f"{metric}|{sessions}": list(texts) for (metric, sessions), texts in self.said.items()},
            "where": {column: list(values) for column, values in self.where.items()},
            "arms": list(self.arms),
            "metrics": list(dict.fromkeys(mine["metric"])) if "metric" in mine else [],
            "checkpoints": sorted({sessions for _, sessions in self.said}),
            "sessions": self.sessions,
            "until": self.until,
            "repeat": self.repeat,
            "top": self.top,
        }


def compiled(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The Vega specification of a chart, so that the page need not carry the compiler. Marks have no roles for screen
    readers: the page gives the chart a name and a table."""
    spec: dict[str, Any] = vl_convert.vegalite_to_vega(chart.properties(padding=4).configure(aria=False).to_dict())
    return spec


def cells(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, int], pd.DataFrame]]:
    """The rows of every metric and checkpoint."""
    for _, part in rows.groupby(["metric", "sessions"], sort=False):
        yield (str(part["metric"].iloc[0]), int(part["sessions"].iloc[0])), part


def packed(rows: pd.DataFrame) -> dict[str, Any]:
    """Rows for JSON, column by column: figures to four digits, missing ones as null, repeated text only once."""
    return {str(name): _column([_plain(value) for value in values]) for name, values in rows.items()}


def _column(values: list[Any]) -> Any:
    if not all(isinstance(value, str) for value in values):
        return values
    known = {value: at for at, value in enumerate(dict.fromkeys(values))}
    return {"texts": list(known), "at": [known[value] for value in values]}


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA:
        return None
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.4g}")
    return value if isinstance(value, str | list) else int(value)
