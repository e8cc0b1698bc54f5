"""The sections of the page, in their order. One appears where the study has its chart or its table, and only there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from atlas.charts import (
    ablations,
    base_loss,
    baselines,
    capacity,
    claims,
    confound,
    contrasts,
    curve,
    domains,
    knowledge,
    locate,
    locate_by_age,
    locate_shares,
    matrix,
    paraphrases,
    retention,
    speed,
    variance,
)
from atlas.charts.frame import Chart
from atlas.charts.gallery import GALLERY, Entry
from atlas.charts.study_tables import Tables
from atlas.page import parts

Part = Callable[[Tables], str]

ALIVE: Mapping[str, Callable[[Tables], Iterator[Chart]]] = {
    "retention": retention.charts,
    "claims": claims.charts,
    "knowledge": knowledge.charts,
    "locate": locate.charts,
    "locate_shares": locate_shares.charts,
    "locate_by_age": locate_by_age.charts,
    "curve": curve.charts,
    "domains": domains.charts,
    "matrix": matrix.charts,
    "contrasts": contrasts.charts,
    "confound": confound.charts,
    "paraphrases": paraphrases.charts,
    "variance": variance.charts,
    "ablations": ablations.charts,
    "baselines": baselines.charts,
    "capacity": capacity.charts,
    "speed": speed.charts,
    "base_loss": base_loss.charts,
}
"""Charts that follow the reader's choices; of the others the picture stands."""
PARTS: Mapping[str, tuple[Part, ...]] = {
    "retention": (parts.retention_tables, parts.spelling, parts.wrong_answers, parts.untrained),
    "claims": (parts.claims_in_words,),
    "knowledge": (parts.knowledge_tables, parts.comparisons),
    "arms": (parts.arms_table,),
    "locate": (parts.located,),
    "curve": (parts.continual_tables,),
    "baselines": (parts.baselines_tables, parts.baseline_claims),
    "map": (parts.map_tables,),
}
"""HTML that stands below a chart, made from tables."""
MORE = {
    "retention": ("association", "wrong_answers"),
    "curve": ("continual",),
    "baselines": ("baseline_claims",),
    "knowledge": ("knowledge_contrasts",),
}
"""Tables that these parts show, beside those of the chart."""


@dataclass(frozen=True)
class Section:
    """A part of the page: a chart by the name of its step, HTML made from tables, or both."""

    name: str  # of the chart, too, where there is one
    heading: str
    tables: tuple[str, ...] = ()  # the Parquet files that it shows, from the folder of the tables; all must be there
    reads: str = ""  # how to read it, where no chart's caption says so

    @property
    def parts(self) -> tuple[Part, ...]:
        """HTML below the chart."""
        return PARTS.get(self.name, ())


ARMS = Section(
    "arms",
    "Arms and parameters",
    ("arms",),
    "An arm is a place for the adapters: linear layers (targets) and a rank for each of the model's layers. The share "
    "is that of the adapter in base and adapter together. Where the method is not lora, whole matrices change, and the "
    "share is theirs in the base. What a session takes is said of a seed, on average: facts in the loss of a step and "
    "tokens that the loss was taken over, each as often as it was, and core-seconds of training and of the scoring by "
    "which a recipe chooses. The facts of an editor are those that it writes.",
)


def section_of(chart: Entry) -> Section:
    """The section of a chart."""
    beside = "" if chart.folder == "tables" else f"../{chart.folder}/"
    return Section(
        chart.name, chart.heading, tuple(f"{beside}{table}" for table in (*chart.shows, *MORE.get(chart.name, ())))
    )


_CHARTS = [section_of(chart) for chart in GALLERY]
SECTIONS = (*_CHARTS[:3], ARMS, *_CHARTS[3:])


@dataclass(frozen=True)
class Shown:
    """A section that this study has."""

    section: Section
    picture: str = ""  # SVG; empty without a chart
    caption: str = ""
    alive: list[Chart] = field(default_factory=list)


def present(tables: Tables, pictures: dict[str, str], captions: dict[str, str]) -> list[Shown]:
    """The sections that this study has, in the order of the page; charts that no section knows come last."""
    known = {section.name: section for section in SECTIONS}
    named = [*SECTIONS, *(Section(name, name.capitalize()) for name in pictures if name not in known)]
    return [
        Shown(
            section,
            pictures.get(section.name, ""),
            captions.get(section.name, section.reads),
            list(ALIVE[section.name](tables)) if section.name in pictures and section.name in ALIVE else [],
        )
        for section in named
        if section.name in pictures or (section.parts and all(tables.has(name) for name in section.tables))
    ]
