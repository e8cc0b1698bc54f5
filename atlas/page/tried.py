"""What the documentation says of what was tried, as Markdown: searches, ideas that did not help, and other tools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from atlas.audit.audit_columns import HONEST, HONEST_LEVELS, LEVELS, TOOLS, VIEWS
from atlas.audit.detection_rates import FELT
from atlas.audit.views import ALL
from atlas.charts.findings import amount, seeds
from atlas.charts.study_tables import Tables
from atlas.page.templates import markdown
from atlas.workflow import files

PRESET = "preset"  # the candidate that the others of studies/ideas.yaml change in one thing


def found(results: Path) -> str:
    """The candidate that a search chose for each arm. AtlasError where the table is missing or damaged."""
    rows = Tables(results / "tables").recipes
    chosen = rows[rows["chosen"]].sort_values("recall", ascending=False, kind="stable")
    heading = ["Arm", "Learning rate", "Rates tried as long", "Recall", "Rise, nats", "Core-seconds a seed"]
    lines = [
        [f"`{row['arm']}`", f"{row['lr']:g}", _rates(rows, row), *_measured(row)] for row in chosen.to_dict("records")
    ]
    open_arms = [f"`{arm}`" for arm in chosen.loc[chosen["closed"].eq(False), "arm"]]
    return markdown("found", **_sample(chosen), heading=heading, lines=lines, open_arms=open_arms)


def ideas(results: Path) -> str:
    """Every candidate that changes the preset in one thing, what it changes, and what came of it, the best first."""
    rows = Tables(results / "tables").recipes
    rows = rows[rows["sessions"] == rows["sessions"].max()]
    arms = list(dict.fromkeys(rows["arm"]))
    mean = rows.groupby("candidate")["recall"].mean().sort_values(ascending=False, kind="stable")
    cells = {(row["arm"], row["candidate"]): row for row in rows.to_dict("records")}
    heading = ["Idea", "Setting"]
    heading += [f"`{arm}`: {what}" for arm in arms for what in ("recall", "rise, nats", "core-seconds a seed")]
    lines = [
        [
            str(name).replace("_", " "),
            ", ".join(changed(cells[arms[0], PRESET], cells[arms[0], str(name)])),
            *(cell for arm in arms for cell in _measured(cells[arm, str(name)])),
        ]
        for name in mean.index
    ]
    return markdown("ideas", **_sample(rows), heading=heading, lines=lines)


def changed(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What the recipe of a candidate says otherwise than that of another one, as ``key: value``."""
    return [f"`{key}: {said}`" for key, said in _changed(json.loads(one["recipe"]), json.loads(other["recipe"]))]


def _changed(before: Mapping[str, Any], after: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    for key in dict.fromkeys([*after, *before]):
        was, is_now = before.get(key), after.get(key)
        if isinstance(was, Mapping) and isinstance(is_now, Mapping):
            # a phase is not named, since the preset has but one
            yield from _changed(was, is_now, "" if key in ("phases", "all") else f"{within}{key}.")
        elif was != is_now:
            yield within + key, is_now if isinstance(is_now, str) else json.dumps(is_now)


def tools(results: Path) -> str:
    """How much of the same damage each tool notices, by family. AtlasError where the table is missing or damaged."""
    rows = files.read_parquet(results / "audit" / "tools.parquet", TOOLS).to_pandas()
    versions = dict(zip(rows["tool"], rows["version"], strict=True))
    asked = rows[rows["felt"].fillna(True).astype(bool) & (rows["family"] != "sound")]
    noticed = asked["verdict"].ne("nothing").groupby([asked["family"], asked["tool"]], sort=False)
    counts = (noticed.sum().astype(str) + " of " + noticed.size().astype(str)).to_dict()
    families = dict.fromkeys(asked["family"])
    lines = [[family, *(counts.get((family, tool), "") for tool in versions)] for family in families]
    sound = rows[(rows["family"] == "sound") & rows["verdict"].ne("nothing")]["tool"]
    return markdown(
        "tools",
        versions=versions,
        alarms=list(sound),
        heading=["Damage", *(f"`{tool}`" for tool in versions)],
        lines=lines,
    )


def seen(results: Path) -> str:
    """What the guard sees of damage with what at hand, by family and by model, and its false alarms.

    AtlasError where a table is missing or damaged.
    """
    counts = files.read_parquet(results / "audit" / "views.parquet", VIEWS).to_pandas()
    honest = files.read_parquet(results / "audit" / "false_alarms.parquet", HONEST).to_pandas()
    counts = counts[counts["felt"] > 0]

    def lines(rows: pd.DataFrame, by: str) -> list[list[str]]:
        return [
            [row[by], str(row["felt"]), *(f"{row[f'seen_{level}'] / row['felt']:.0%}" for level in LEVELS)]
            for row in rows.sort_values(by, key=lambda names: names != ALL, kind="stable").to_dict("records")
        ]

    return markdown(
        "seen",
        felt=FELT,
        heading=["felt", "file alone", "and a text", "and the model in memory", "and a manifest"],
        families=lines(counts[counts["subject"] == ALL], "family"),
        subjects=lines(counts[(counts["family"] == ALL) & (counts["subject"] != ALL)], "subject"),
        honest=len(honest),
        alarms=int((honest[[f"failed_{level}" for level in HONEST_LEVELS]] != "").any(axis=1).sum()),
        architectures=honest["architecture"].nunique(),
    )


def _rates(rows: pd.DataFrame, chosen: Mapping[Any, Any]) -> str:
    longest = rows[(rows["arm"] == chosen["arm"]) & (rows["sessions"] == chosen["sessions"])]
    return ", ".join(f"{rate:g}" for rate in sorted({*longest["lr"].dropna()}))


def _measured(row: Mapping[Any, Any]) -> list[str]:
    return [
        amount(row["recall"], row["ci_low"], row["ci_high"], "share"),
        f"{row['rise']:+.2f}",
        f"{row['core_seconds']:,.0f}",
    ]


def _sample(rows: pd.DataFrame) -> dict[str, Any]:
    return {"seeds": seeds(rows), "sessions": int(rows["sessions"].max()), "facts": int(rows["n_facts"].max())}
