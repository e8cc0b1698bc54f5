"""The frame of every chart: one specification, drawn as a picture and as a figure of the page that follows choices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import altair as alt
import pandas as pd
import vl_convert

from atlas.charts.findings import after, sentences
from atlas.charts.theme import WIDTH, title

ROWS = "rows"
"""Name of the data in every figure of the page: the script fills it with the rows that are chosen."""
TOP = "top"
"""Name of the parameter that ends a scale where several small charts must share it."""

NARROW = alt.ExprRef("width < 330 ? 1 : 2")
"""Columns of a legend on the page: one on a phone."""
HALF = alt.ExprRef("max(110, containerSize()[0] / 2.2)")
"""Pixels of the longest label beside a figure of the page: less than half of what there is."""
RIGHT = alt.value("width")
"""Right of a panel, for what is written there."""

Kind = Literal["share", "points", "nats", "count", "text"]
FORMATS: Mapping[Kind, str] = {"share": ".1%", "points": "+.1%", "nats": ".3f", "count": ",.3~f"}
"""Kinds of figures: how tooltips write them; the page's script writes the same."""

Columns = dict[str, tuple[str, Kind]]
"""Heading to column (of an interval, to both) and kind."""

ARM: Columns = {"Arm": ("arm", "text")}
BASIS: Columns = {"Seeds": ("n_seeds", "count"), "Facts a seed": ("n_facts", "count")}
Choice = tuple[str, int]
Sayer = Callable[[pd.DataFrame], Sequence[str]]


@dataclass(frozen=True)
class Panel:
    """What marks are drawn over: the rows of a panel of the picture, or on the page those that a reader chooses."""

    data: alt.Chart
    rows: pd.DataFrame
    tips: list[alt.Tooltip]
    live: bool = False  # on the page
    first: bool = True  # in its row of panels, so that it has the names
    lowest: bool = True  # in its column

    def legend(self, **how: Any) -> alt.Legend:
        """A legend above the marks; on the page in as many columns as there is room for."""
        columns = {"columns": NARROW} if self.live else {}
        return alt.Legend(**{"orient": "top", "title": None, **how, **columns})

    def scale(self, low: float, high: float) -> alt.Scale:
        """The scale that all panels of the picture share; on the page it reaches as far as the rows do."""
        return alt.Scale(zero=True) if self.live else alt.Scale(domain=[low, high], nice=False)

    def names(self, extent: float = 0, limit: Any = 150, **how: Any) -> alt.Axis | None:
        """The axis of names: in the picture no narrower than ``extent``, on the page no wider than ``limit``."""
        width = {"minExtent": round(extent)} if extent and not self.live else {"labelLimit": limit}
        return alt.Axis(**{"title": None, **width, **how}) if self.first else None


@dataclass(frozen=True)
class Block:
    """Panels of the picture that belong together, each with its title and its rows."""

    panels: Sequence[tuple[str, pd.DataFrame]]
    heading: str = ""
    across: int = 0  # panels beside each other, with scales of their own; 0: all of them, and they share their scales


@dataclass(frozen=True)
class Chart:
    """One specification of a chart: its rows, the marks that show them, and what they say.

    On the page, arms, metric and sessions are chosen for all charts together; a row is shown where it is of a chosen
    arm (in one of the columns ``arms``; a column may hold a list), of the metric, and of the sessions (``until``: up to
    them). The picture shows all ``blocks``.
    """

    name: str
    rows: pd.DataFrame  # of the page
    marks: Callable[[Panel], alt.LayerChart | alt.Chart]
    blocks: Sequence[Block]  # of the picture, from top to bottom
    title: Sequence[str]  # what was found
    subtitle: Sequence[str]  # on what it rests
    columns: Columns  # of the table below the figure, and what is told of a mark
    said: Mapping[Choice, tuple[str, str]] = field(default_factory=dict)
    """Metric ("" for any) and sessions to what was found and what it rests on; empty for a picture alone."""

    width: float | alt.Step = WIDTH  # of a panel of the picture
    height: float | alt.Step = 0
    page_height: float | alt.Step | None = None  # where that is another
    gap: float = 28  # between panels
    spacing: float = 18  # between blocks
    titles: Mapping[str, Any] = field(default_factory=dict)  # how those of panels are set
    titles_once: bool = False  # by the first block for all
    flush: bool = False  # panels of a block stand below each other whatever their axes take

    rows_of: str = ""  # where charts share their rows: the name of these on the page
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)  # rows that belong to this chart, by column
    arms: Sequence[str] = ("arm",)
    sessions: str = "sessions"
    until: bool = False
    repeat: bool = False  # one small chart an arm, the others' rows behind it
    least: float = 9.2  # rem that such a small chart takes on the page, at least
    top: str = ""  # the column whose greatest value ends a shared scale

    @property
    def table(self) -> str:
        """The name of the rows on the page."""
        return self.rows_of or self.name

    def drawn(self, first: bool) -> Iterator[alt.FacetChart | alt.ConcatChart]:
        """The blocks of the picture, of which this chart is the ``first``."""
        for number, block in enumerate(self.blocks):
            named = (first and number == 0) or not self.titles_once
            heading = alt.TitleParams(block.heading, fontSize=13, fontWeight=600, offset=6)
            options = {"title": heading, "spacing": self.gap} if block.heading else {"spacing": self.gap}
            if block.across == 0:
                order = [name for name, _ in block.panels]
                rows = pd.concat([part.assign(panel=name) for name, part in block.panels], ignore_index=True)
                column = alt.Column("panel:N", sort=order, header=alt.Header(labels=named, labelPadding=4))
                yield self._panel(rows).facet(column=column, **options)
                continue
            panels = []
            for at, (name, rows) in enumerate(block.panels):
                lowest = at + block.across >= len(block.panels)
                panel = self._panel(rows, first=at % block.across == 0, lowest=lowest)
                text = alt.TitleParams(name if named else "", **{"fontSize": 12, "offset": 4, **self.titles})
                panels.append(panel.properties(title=text))
            yield alt.concat(*panels, columns=block.across, bounds="flush" if self.flush else "full", **options)

    def _panel(self, rows: pd.DataFrame, **place: bool) -> alt.LayerChart | alt.Chart:
        panel = Panel(alt.Chart(rows), rows, tips(self.columns), **place)
        return self.marks(panel).properties(width=self.width, height=self.height)

    def live(self) -> alt.LayerChart | alt.Chart:
        """The same marks for the page: one panel, as wide as there is room."""
        panel = Panel(alt.Chart(alt.NamedData(name=ROWS)), self.rows, tips(self.columns), live=True)
        return self.marks(panel).properties(width="container", height=self.page_height or self.height)

    def described(self) -> dict[str, Any]:
        """The figure of the page without its rows, for JSON."""
        mine = self.rows
        for column, values in self.where.items():
            mine = mine[mine[column].isin(values)]
        return {
            "table": self.table,
            "spec": compiled(self.live()),
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


def picture(charts: Iterable[Chart]) -> alt.VConcatChart:
    """Charts below each other, under one title that says what they found; what several say stands there once."""
    charts = list(charts)
    blocks = [block for number, chart in enumerate(charts) for block in chart.drawn(first=number == 0)]
    found = dict.fromkeys(line for chart in charts for line in chart.title)
    how = dict.fromkeys(line for chart in charts for line in chart.subtitle)
    return alt.vconcat(*blocks, spacing=charts[0].spacing).properties(title=title(list(found), list(how)))


def compiled(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The Vega specification of a chart, so that the page need not carry the compiler. Marks have no roles for screen
    readers: the page gives the chart a name and a table."""
    spec: dict[str, Any] = vl_convert.vegalite_to_vega(chart.properties(padding=4).configure(aria=False).to_dict())
    return spec


def tips(columns: Columns) -> list[alt.Tooltip]:
    """What is told of a mark: the columns of the table, an interval as its two ends."""
    told = []
    for heading, (names, kind) in columns.items():
        ends = names.split()
        headings = [heading] if len(ends) == 1 else [f"{heading} from", "to"]
        how = {"type": "nominal"} if kind == "text" else {"type": "quantitative", "format": FORMATS[kind]}
        told += [alt.Tooltip(field=end, title=text, **how) for end, text in zip(ends, headings, strict=True)]
    return told


def told(kind: Kind, /, **headings: str) -> Columns:
    """Columns of one kind, each with its heading."""
    return {heading: (column, kind) for column, heading in headings.items()}


def measured(heading: str = "Value", column: str = "value", kind: Kind = "share") -> Columns:
    """A figure and its interval."""
    return {heading: (column, kind), "95% interval": ("ci_low ci_high", kind)}


def horizontal(axis: alt.Axis, scale: alt.Scale) -> Callable[[str], alt.X]:
    """The horizontal place by any column, always on the same axis and scale."""
    return lambda column: alt.X(f"{column}:Q", axis=axis, scale=scale)


def vertical(axis: alt.Axis, scale: alt.Scale) -> Callable[[str], alt.Y]:
    """The vertical place by any column, always on the same axis and scale."""
    return lambda column: alt.Y(f"{column}:Q", axis=axis, scale=scale)


def by_checkpoint(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Panels: one a checkpoint."""
    return [(after(sessions), part) for sessions, part in rows.groupby("sessions")]


def cells(rows: pd.DataFrame) -> Iterator[tuple[Choice, pd.DataFrame]]:
    """The rows of everything that can be chosen: metrics, where there are any, and checkpoints.

    Of facts taught nothing can be said while none has an alternative; facts never taught may have some by then.
    """
    metric = ["metric"] if "metric" in rows else []
    for _, part in rows.groupby([*metric, "sessions"], sort=False):
        if "probe" in part and not (part["probe"] == "taught").any():
            continue
        yield (str(part["metric"].iloc[0]) if metric else "", int(part["sessions"].iloc[0])), part


def up_to(rows: pd.DataFrame, checkpoints: Iterable[int]) -> Iterator[tuple[Choice, pd.DataFrame]]:
    """The rows up to each checkpoint, where there are any."""
    for sessions in sorted(set(map(int, checkpoints))):
        part = rows[rows["sessions"] <= sessions]
        if len(part):
            yield ("", sessions), part


def said(parts: Iterable[tuple[Choice, pd.DataFrame]], finding: Sayer, basis: Sayer) -> dict[Choice, tuple[str, str]]:
    """What the page says of every choice: what was found, and on what it rests."""
    return {choice: (sentences(finding(part)), " ".join(basis(part))) for choice, part in parts}


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
