"""What a study found, first: at most five findings, each a comparison with both figures, its interval, and a verdict.

The page begins with them, and the README. A study that lacks what a finding is about lacks the finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from atlas.charts.findings import after, amount, last, listed, percent
from atlas.charts.placing import placed
from atlas.charts.study_tables import Tables
from atlas.metrics import REGISTRY
from atlas.phrases import plural

DECIDED, UNDECIDED = "decided", "not decided"
ALONE = {"recipe", "recipe and learning rate"}
SAME_RECIPE = {"place", "place and learning rate"}
"""What two arms may differ in for their difference to be that of the recipe, or that of the place: of equal size, each
at a learning rate of its own."""

Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Headline:
    """A finding: what it is about in a few words, what it says, and the section of the page that shows it."""

    topic: str
    says: str
    section: str


def findings(tables: Tables) -> list[Headline]:
    """What a study found, what matters most first."""
    return [found for find in (_recipe, _place, _located, _wording, _cost) for found in find(tables)]


def _recipe(tables: Tables) -> Iterator[Headline]:
    """How facts are taught: the widest gap between two recipes in one place."""
    rows, recipes = _recall(tables), dict(zip(tables.arms["arm"], tables.arms["recipe"], strict=True))
    a, b = rows["arm_a"].map(recipes), rows["arm_b"].map(recipes)  # ablations are no arms, and have none
    rows = rows[rows["differs"].isin(ALONE) & a.notna() & b.notna() & (a != b)]
    if rows.empty:
        return
    widest: Row = rows.sort_values("diff", key=abs, ascending=False, kind="stable").to_dict("records")[0]
    kept = _values(widest)
    better, worse = [*kept][:: 1 if widest["diff"] > 0 else -1]
    yield Headline(
        "How facts are taught",
        f"The recipe alone moves {_what(widest)} by {_apart(widest)}. In the same place, preset `{recipes[better]}` "
        f"keeps {kept[better]:.1%} and preset `{recipes[worse]}` {kept[worse]:.1%} "
        f"(`{better}`, `{worse}`).",
        "contrasts",
    )


def _place(tables: Tables) -> Iterator[Headline]:
    """Where the adapters sit: the places of equal size that keep most, under one recipe."""
    rows = _recall(tables)
    rows = rows[rows["differs"].isin(SAME_RECIPE)]
    if rows.empty:
        return
    means = rows.assign(kept=rows[["value_a", "value_b"]].mean(axis=1)).groupby("family", sort=False)["kept"].mean()
    rows = rows[rows["family"] == means.idxmax()].sort_values("diff", key=abs, ascending=False, kind="stable")
    records = rows.to_dict("records")
    kept = {arm: share for row in records for arm, share in _values(row).items()}
    places = listed(f"`{arm}` {kept[arm]:.1%}" for arm in sorted(kept, key=kept.__getitem__, reverse=True))
    pairs = [f"`{row['arm_a']}` against `{row['arm_b']}` {_apart(row, signed=True)}" for row in records]
    yield Headline(
        "Where the adapters sit",
        f"At equal size and with one recipe, the place moves {_what(records[0])} by at most "
        f"{100 * rows['diff'].abs().max():.1f} points: {places}. {listed(pairs)}.",
        "contrasts",
    )


def _located(tables: Tables) -> Iterator[Headline]:
    """Where in its adapters an arm keeps what it was taught."""
    if not tables.has("locate"):
        return
    rows = placed(tables.locate).query("metric == 'recall' and probe == 'taught' and part == 'slot'")
    lost = rows[(rows["change"] == "without") & (rows["measure"] == "lost")]
    left = rows[(rows["change"] == "only") & (rows["measure"] == "left")]
    said = []
    for arm, part in lost.groupby("arm", sort=False):
        ordered = part.sort_values("value", kind="stable").to_dict("records")
        (least, most), alone = (ordered[0], ordered[-1]), left.loc[left["arm"] == arm, "value"].max()
        said.append(
            f"`{arm}` loses from {_lost(least)} to {_lost(most)}, and a slot by itself keeps at most {percent(alone)}"
        )
    if said:
        yield Headline(
            "Where facts sit",
            f"Without a single slot (a role in a layer) of its adapter, {'; '.join(said)}. Points of recall "
            f"{after(lost['sessions'].max())}, with 95% intervals.",
            "locate",
        )


def _wording(tables: Tables) -> Iterator[Headline]:
    """Whether facts are known in other words: the arm that recalls most, by paraphrases that were never taught."""
    rows = last(tables.retention.query("domain == 'all' and metric == 'recall'"))
    taught, other = (rows[rows["probe"] == probe].set_index("arm") for probe in ("taught", "rephrase"))
    if other.empty:
        return
    arm = taught.loc[other.index, "value"].idxmax()
    here, there = taught.loc[arm], other.loc[arm]
    apart = pd.notna(there["ci_high"]) and there["ci_high"] < here["ci_low"]
    yield Headline(
        "In other words",
        f"`{arm}` recalls {_share(here)} of its facts asked as they were taught, and {_share(there)} asked in words "
        f"that were never taught ({DECIDED if apart else UNDECIDED}).",
        "retention",
    )


def _cost(tables: Tables) -> Iterator[Headline]:
    """What teaching breaks: the rise of the base's loss, among the arms that keep most."""
    if not tables.has("base_loss"):
        return
    kept = tables.retention.query("domain == 'all' and metric == 'recall' and probe == 'taught'")
    recalled = last(kept).set_index("arm")["value"]
    recipes = dict(zip(tables.arms["arm"], tables.arms["recipe"], strict=True))
    best, rows = recipes[str(recalled.idxmax())], last(tables.base_loss).set_index("arm")
    alike = [arm for arm in rows.index if recipes[arm] == best and recalled.get(arm, 0) > recalled.max() / 2]
    ordered = rows.loc[alike].sort_values("rise", kind="stable").reset_index().to_dict("records")
    if not ordered:
        return
    least, most = ordered[0], ordered[-1]
    said = f"The base's loss on its own text rises by {_rise(least)}"
    if len(ordered) > 1:
        verdict = DECIDED if least["ci_high"] < most["ci_low"] else UNDECIDED
        said += f" under `{least['arm']}` and by {_rise(most)} under `{most['arm']}` ({verdict})"
    yield Headline("What it costs", f"{said}, nats per character {after(most['sessions'])}.", "base_loss")


def _recall(tables: Tables) -> pd.DataFrame:
    """The planned comparisons of recall of all taught facts at the last checkpoint; no rows where none are planned."""
    if not tables.has("contrasts"):
        return pd.DataFrame(columns=["differs", "arm_a", "arm_b"])
    rows = tables.contrasts.query("metric == 'recall' and probe == 'taught' and domain == 'all'")
    return last(rows).drop_duplicates(["arm_a", "arm_b"])


def _what(row: Row) -> str:
    """``recall of 300 facts after 100 sessions``."""
    return f"{REGISTRY['recall'].label.lower()} of {plural(int(row['n_facts']), 'fact')} {after(row['sessions'])}"


def _values(row: Row) -> dict[str, float]:
    return {row["arm_a"]: row["value_a"], row["arm_b"]: row["value_b"]}


def _apart(row: Row, signed: bool = False) -> str:
    """A difference in points, its interval, and whether it is decided; of unsigned ones, turned to be positive."""
    turn, form = (1 if signed or row["diff"] > 0 else -1), "+.1f" if signed else ".1f"
    low, high = sorted((100 * turn * row["ci_low"], 100 * turn * row["ci_high"]))
    verdict = UNDECIDED if row["verdict"] == "unresolved" else DECIDED
    about = "; ".join(filter(None, (_ends(low, high, form), verdict)))
    return f"{100 * turn * row['diff'] + 0.0:{form}} points ({about})"


def _share(row: Row) -> str:
    return amount(row["value"], row["ci_low"], row["ci_high"], "share")


def _lost(row: Row) -> str:
    about = ", ".join(filter(None, (row["place"], _ends(100 * row["ci_low"], 100 * row["ci_high"], ".0f"))))
    return f"{100 * row['value']:.1f} ({about})"


def _rise(row: Row) -> str:
    ends = _ends(row["ci_low"], row["ci_high"], ".2f")
    return f"{row['rise']:.2f}" + (f" ({ends})" if ends else "")


def _ends(low: float, high: float, form: str) -> str:
    """``1.0 to 2.0``; empty where there is no interval."""
    return "" if pd.isna(low) else f"{low:{form}} to {high:{form}}"
