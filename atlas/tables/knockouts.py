"""What knock-outs left of the facts: the files that locating an arm writes, read, checked and counted.

A change is made to a part of the trained adapter, and what was taught is asked again: ``without`` the part, with
``only`` the part, with its update ``halved``, or ``rotated`` at random at the same norm; ``intact`` is the adapter as
it was taught. A part is a slot (the adapter of one role in one layer, or group of layers), a role in all layers, a
layer in all roles, or a half: all of attention, or all of the feed-forward layers.

Files hold counts by session taught. So what a part loses, intact less changed, is paired by seed and exact there, but
not by fact: its interval takes the facts of both sides as independent, which makes it rather too wide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.tables.intervals import Estimate, Sample, estimate
from atlas.tables.ledger import Where
from atlas.tables.runs import Runs
from atlas.ttt.locate_columns import CHANGES, HALVES, KNOCKOUTS, SLOTS, UNITS

ROLES = ("q", "k", "v", "o", "gate", "up", "down")
PLACE = ["first_layer", "last_layer", "role", "half"]
SLOT = PLACE[:3]
PART = ["change", "unit", *PLACE]
HITS = {"recall": ("recalled", "facts"), "association": ("associated", "judged")}
"""Metric to the columns of its counts: facts that score, of so many."""
YES_NO = np.array([0.0, 1.0])


@dataclass(frozen=True)
class Knockouts:
    """The knock-outs of arms that were located."""

    rows: pd.DataFrame  # of knockouts.parquet, of all runs
    runs: Runs

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in the order of the study."""
        return self.runs.arms

    def sessions(self, arm: str) -> int:
        """Sessions after which an arm was located."""
        return int(self.rows.loc[self.rows["arm"] == arm, "sessions"].iloc[0])

    @cached_property
    def counts(self) -> pd.DataFrame:
        """What all sessions together taught, counted seed by seed as by ``counted``."""
        return counted(self.rows)

    def intact(self, arm: str, metric: str) -> float:
        """The mean over seeds of a metric of taught facts under the adapter as it was taught."""
        rows = having(self.counts, arm=arm, probe="taught", change="intact")
        return float(sample(rows, metric).means.mean())

    def lost_without(self, place: Where, arm: str, metric: str) -> list[Estimate]:
        """What is lost of taught facts without each part of a place of an arm; none where it has none there."""
        counts = having(self.counts, arm=arm, probe="taught")
        rows = counts[counts["change"] == "without"]
        if place.layers is None:
            rows = rows[rows["half"] == place.half]
        else:
            roles = [role for role in ROLES if half_of(role) == place.half]
            rows = rows[rows["role"].isin(roles) if place.half else rows["unit"] == "layer"]
            depth = len(self.runs.first(arm).ranks)
            centre = (rows["first_layer"] + rows["last_layer"] + 1) / 2
            outer = (centre < depth / 4) | (centre > depth - depth / 4)
            rows = rows[outer if place.layers == "outer" else ~outer]
            rows = rows[rows["first_layer"].notna()]
        intact = counts[counts["change"] == "intact"]
        losses = (lost(intact, part, metric) for _, part in rows.groupby(PART, dropna=False, sort=False))
        return [loss for loss in losses if loss]


def half_of(role: str) -> str:
    """The half of a layer that a role is of."""
    return HALVES[role in ("gate", "up", "down")]


def counted(rows: pd.DataFrame, *more: str) -> pd.DataFrame:
    """Rows summed by arm, the columns ``PART``, probe, seed, and ``more`` columns; base_loss_rise stays as it is."""
    keys = ["arm", *PART, "probe", *more, "seed"]
    how = dict.fromkeys(("facts", "recalled", "judged", "associated"), "sum") | {"base_loss_rise": "first"}
    result: pd.DataFrame = rows.groupby(keys, dropna=False, observed=True, sort=False).agg(how).reset_index()
    return result.sort_values("seed", kind="stable")


def read(runs: Runs) -> Knockouts:
    """Read knockouts.parquet of runs. Raises AtlasError, naming the file, where it is damaged, of another run, or
    holds less than every change of it for every seed."""
    rows = runs.joined("knockouts.parquet", KNOCKOUTS, [*PART, "probe", "session_taught"])
    rows = rows.astype(dict.fromkeys(("change", "unit", "role", "half", "probe"), object))
    for arm in runs.arms:
        of_arm = rows[rows["arm"] == arm]
        by_seed = {seed: of_arm[of_arm["seed"] == seed] for seed in sorted(of_arm["seed"].unique().tolist())}
        parts = {seed: len(part.drop_duplicates(PART)) for seed, part in by_seed.items()}
        most = max(parts, key=lambda seed: parts[seed])
        for seed, part in by_seed.items():
            wrong = next(_wrong(part, runs, arm, seed), None)
            if not wrong and parts[seed] < parts[most]:
                wrong = f"{plural(parts[seed], 'knock-out')}, but seed {most} has {parts[most]}"
            if wrong:
                raise AtlasError(f"{runs.folder(arm, seed) / 'knockouts.parquet'}: seed {seed}: {wrong}; make it again")
    return Knockouts(rows, runs)


def read_slots(runs: Runs) -> pd.DataFrame:
    """Read slots.parquet of runs. Raises AtlasError, naming the file, where it is damaged or has no slots."""
    return runs.joined("slots.parquet", SLOTS, SLOT)


def _wrong(rows: pd.DataFrame, runs: Runs, arm: str, seed: int) -> Iterator[str]:
    """What does not fit in the rows of one seed, in words."""
    last = max(loss.sessions for record in runs.of(arm) for loss in record.val_loss if loss.seed == seed)
    if found := sorted({*rows["sessions"]} - {last}):
        yield f"located after {found[0]} sessions, but run.json ends after {last}"
    for column, known in (("change", CHANGES), ("unit", UNITS), ("half", HALVES), ("probe", ("taught", "placebo"))):
        if strange := sorted({*rows[column].dropna()} - {*known}):
            yield f"{column} {strange[0]!r} is not known, expected one of {', '.join(known)}"
    for less, more in (("recalled", "facts"), ("associated", "judged"), ("judged", "facts")):
        if (rows[less] > rows[more]).any() or (rows[less] < 0).any():
            yield f"{less} is not between 0 and {more} everywhere"
    asked = ["probe", "session_taught"]
    intact = rows.loc[rows["change"] == "intact", [*asked, "facts"]]
    if intact.empty or not intact["session_taught"].dropna().between(1, last).all():
        yield f"no rows of the intact adapter, of facts of sessions 1 to {last}"
    by_part = rows.groupby(PART, dropna=False)
    beside = rows.merge(intact, on=asked, how="left", suffixes=("", "_intact"))
    if (by_part.size() != len(intact)).any() or (beside["facts"] != beside["facts_intact"]).any():
        yield "a knock-out is not asked the facts that the intact adapter is"
    if (by_part["base_loss_rise"].nunique() > 1).any():
        yield "base_loss_rise differs within one knock-out"


def sample(rows: pd.DataFrame, metric: str) -> Sample:
    """Counts of one part and probe, a row a seed, as a sample of a metric of ``HITS``."""
    hits, of = (rows[name].to_numpy(np.int64) for name in HITS[metric])
    left_out = int(rows["facts"].sum() - of.sum())
    return Sample(np.column_stack([of - hits, hits]), YES_NO, False, metric, tuple(rows["seed"]), left_out)


def lost(intact: pd.DataFrame, changed: pd.DataFrame, metric: str) -> Estimate | None:
    """What a change loses of a metric: intact less changed, paired by seed; None where no fact has a score."""
    return estimate(sample(intact, metric), minus=sample(changed, metric))


def having(rows: pd.DataFrame, **where: str) -> pd.DataFrame:
    """The rows with these values."""
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of parts as people read them: by change, unit, half, layer and role."""
    ranks = pd.DataFrame(
        {
            "change": rows["change"].map(CHANGES.index),
            "unit": rows["unit"].map(UNITS.index),
            "half": rows["half"].map(HALVES.index, na_action="ignore"),
            "layer": rows["first_layer"],
            "role": rows["role"].map(ROLES.index, na_action="ignore"),
        }
    )
    return rows.loc[ranks.sort_values(["change", "unit", "half", "layer", "role"], kind="stable").index]
