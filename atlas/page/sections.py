"""The sections of the page, in their order. One appears where the study has its chart or its table, and only there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from atlas.charts import (
    ablations,
    base_loss,
    baselines,
    capacity,
    claims_live,
    confound,
    contrasts,
    curve,
    domains,
    knowledge,
    matrix,
    paraphrases,
    retention,
    speed,
    variance,
)
from atlas.charts.live import Figure
from atlas.charts.tables import Tables
from atlas.page import parts

Live = Callable[[Tables], Figure | list[Figure]]
Part = Callable[[Tables], str]


@dataclass(frozen=True)
class Section:
    """A part of the page: a chart by the name of its step, HTML made from tables, or both."""

    name: str  # of the chart, too, where there is one
    heading: str
    tables: tuple[str, ...]  # the Parquet files that it shows; without a chart, all must be there
    live: Live | None = None  # the chart that follows the reader's choices; without it the picture stands
    parts: tuple[Part, ...] = ()
    reads: str = ""  # how to read it, where no chart's caption says so


SECTIONS = (
    Section("retention", "What is left", ("retention",), retention.live, (parts.retention_tables, parts.untrained)),
    Section("claims", "The essay, claim by claim", ("claims",), claims_live.live, (parts.claims_in_words,)),
    Section(
        "knowledge",
        "Does it hold in a real model?",
        ("knowledge", "knowledge_contrasts"),
        knowledge.live,
        (parts.knowledge_tables, parts.comparisons),
    ),
    Section(
        "arms",
        "Arms and parameters",
        ("arms",),
        parts=(parts.arms_table,),
        reads="An arm is a place for the adapters: linear layers (targets) and a rank for each of the model's layers. "
        "The share is that of the adapter in base and adapter together. Where the method is not lora, whole matrices "
        "change, and the share is theirs in the base.",
    ),
    Section("curve", "Session after session", ("curve", "continual"), curve.live, (parts.continual_tables,)),
    Section("domains", "By domain", ("retention",), domains.live),
    Section("matrix", "By age", ("matrix",), matrix.live),
    Section("contrasts", "Planned comparisons", ("contrasts",), contrasts.live),
    Section("confound", "On a mis-loaded base", ("confound",), confound.live),
    Section("paraphrases", "In paraphrases never taught", ("paraphrases",), paraphrases.live),
    Section("variance", "Recipe or place", ("variance",), variance.live),
    Section("recipes", "Recipes", ("recipes",)),
    Section("ablations", "Parts of the recipe", ("ablations",), ablations.live),
    Section("baselines", "Baselines", ("baselines",), baselines.live, (parts.baselines_tables,)),
    Section("trace", "Where editors write", ("../ttt/trace",)),  # beside the runs
    Section("capacity", "Facts per parameter", ("capacity",), capacity.live),
    Section("speed", "Speed", ("speedrun",), speed.live),
    Section("base_loss", "What teaching cost", ("base_loss",), base_loss.live),
    Section("detection", "What verification sees", ()),
)


@dataclass(frozen=True)
class Shown:
    """A section that this study has."""

    section: Section
    picture: str = ""  # SVG; empty without a chart
    caption: str = ""
    alive: list[Figure] = field(default_factory=list)


def present(tables: Tables, pictures: dict[str, str], captions: dict[str, str]) -> list[Shown]:
    """The sections that this study has, in the order of the page; charts that no section knows come last."""
    known = {section.name: section for section in SECTIONS}
    named = [*SECTIONS, *(Section(name, name.capitalize(), ()) for name in pictures if name not in known)]
    return [
        Shown(
            section,
            pictures.get(section.name, ""),
            captions.get(section.name, section.reads),
            _live(section, tables) if section.name in pictures else [],
        )
        for section in named
        if section.name in pictures or (section.parts and all(tables.has(name) for name in section.tables))
    ]


def _live(section: Section, tables: Tables) -> list[Figure]:
    if section.live is None:
        return []
    found = section.live(tables)
    return found if isinstance(found, list) else [found]
