"""All charts by name: what each is drawn from, and where it stands on the page and in the report.

The rules and the page read it, so it imports no chart; no chart's step reads it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A chart: the module ``atlas.charts.NAME``. A study has it where it has the tables that are shown."""

    name: str
    heading: str  # of its section of the page
    category: str  # in the report
    label: str  # below its category
    shows: tuple[str, ...]  # tables
    reads: tuple[str, ...] = ()  # further ones: colours of arms, checkpoints
    folder: str = "tables"  # of the results, where these are
    ledger: bool = False  # whether it reads the essay's claims


GALLERY = (
    Entry("retention", "What is left", "Retention", "by arm and metric", ("retention",), ("arms",), ledger=True),
    Entry("claims", "The essay, claim by claim", "Claims", "claim by claim", ("claims",), ledger=True),
    Entry(
        "knowledge",
        "Does it hold in a real model?",
        "Knowledge",
        "known and unknown facts",
        ("knowledge",),
        ("arms", "controls"),
    ),
    Entry(
        "locate", "Where facts sit", "Location", "recall by parts of the adapter", ("locate",), ("arms", "retention")
    ),
    Entry(
        "locate_shares",
        "Where the adapter changed most",
        "Location",
        "update, gradient and recall by slot",
        ("locate_shares",),
        ("arms", "retention"),
    ),
    Entry(
        "locate_by_age",
        "Where old and new facts sit",
        "Location",
        "recall by slot and age",
        ("locate_by_age",),
        ("arms", "retention"),
    ),
    Entry("curve", "Session after session", "Forgetting", "over sessions", ("curve",), ("arms", "retention")),
    Entry("domains", "By domain", "Retention", "by domain", ("retention",), ("arms",), ledger=True),
    Entry("matrix", "By age", "Forgetting", "by session and age", ("matrix",), ("arms", "retention")),
    Entry("contrasts", "Planned comparisons", "Contrasts", "planned comparisons", ("contrasts",)),
    Entry("confound", "On a mis-loaded base", "Guard", "what a mis-loaded base does", ("confound",), ("arms",)),
    Entry("paraphrases", "By held-out paraphrases", "Recipe", "by paraphrases taught", ("paraphrases",), ("arms",)),
    Entry("variance", "Recipe or place", "Recipe", "shares of variance", ("variance",), ("arms",)),
    Entry("recipes", "Recipes", "Recipe", "what the search found", ("recipes",)),
    Entry("ablations", "Parts of the recipe", "Recipe", "ablations", ("ablations",)),
    Entry("baselines", "Baselines", "Baselines", "recall by edits", ("baselines",), ("arms", "retention")),
    Entry("trace", "Where editors write", "Baselines", "causal trace", ("trace",), folder="ttt"),
    Entry("map", "Place by place", "Places", "by role, layer and parameters", ("map",)),
    Entry("capacity", "Facts per parameter", "Forgetting", "facts per parameter", ("capacity",), ("arms", "retention")),
    Entry("speed", "Speed", "Cost", "recall against core-seconds", ("speedrun",), ("arms",)),
    Entry("base_loss", "What teaching cost", "Cost", "rise in base loss", ("base_loss",), ("arms", "retention")),
    Entry(
        "detection",
        "What verification sees",
        "Guard",
        "damage and false alarms",
        ("detection", "false_alarms"),
        folder="audit",
    ),
)
"""In the order of the page."""
