"""Do old and new facts sit in different places? What is lost without a part, by when the facts were taught.

Facts are taken by tenths of the sessions (a run of fewer sessions by single ones): recall of the intact adapter less
recall without the part, paired by seed.

Then the oldest third of the sessions is held against the newest, part by part. Old facts may be fewer, or more fragile,
whatever is taken away; that is no difference of place. So losses are taken relative to what the intact adapter recalls
of the same third, and from the difference of a part (oldest less newest) that of the mean over all parts of its kind is
taken: this is the ``shift``. It is above 0 where old facts depend on a part more than new ones do, compared with other
parts, and all shifts of an arm are 0 where both sit in the same places. P-values are those of the step-down sign-flip
test over the parts of one kind of an arm (``atlas.tables.inference``); the least of them tells whether there is any
difference at all. A seed that recalls nothing of a third is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from atlas.tables import table_step
from atlas.tables.columns import LOCATE_BY_AGE
from atlas.tables.inference import sign_flip, step_down, verdict
from atlas.tables.intervals import BySeed, as_floats, seed_interval
from atlas.tables.knockouts import PART, Knockouts, counted, in_order, lost, read
from atlas.tables.level import attainable
from atlas.tables.runs import Runs

TENTHS, THIRDS = 10, 3
METRIC, LOST, SHIFT = "recall", "lost", "shift"
OLDER, NEWER, UNRESOLVED = "older facts", "newer facts", "unresolved"
WORDS = {"a > b": OLDER, "b > a": NEWER, UNRESOLVED: UNRESOLVED}
"""Which facts need a part more than the others do."""


def table(runs: Runs) -> pa.Table:
    """Per arm and part one row a tenth of the sessions, then its shift. Raises AtlasError as
    ``atlas.tables.knockouts.read``."""
    found = read(runs)
    rows = [row for arm in found.arms for row in (*_by_tenths(found, arm), *_shifts(found, arm))]
    # shifts alone have some of the columns, and a short run has no shift
    frame = pd.DataFrame([row | {"part": row["unit"], "bases": runs.bases(row["exact"])} for row in rows])
    return table_step.as_table(frame.reindex(columns=LOCATE_BY_AGE.names), LOCATE_BY_AGE)


def _by_tenths(found: Knockouts, arm: str) -> Iterator[dict[str, Any]]:
    rows, tenths = _grouped(found, arm, TENTHS)
    counts = in_order(counted(rows, "group"))
    for part, of_part in counts[counts["change"] == "without"].groupby(PART, dropna=False, sort=False):
        about = {"arm": arm, "sessions": found.sessions(arm), "metric": METRIC, "measure": LOST}
        about |= dict(zip(PART, part, strict=True))
        for at, (first, last) in enumerate(tenths):
            changed, intact = (one[one["group"] == at] for one in (of_part, counts[counts["change"] == "intact"]))
            if one := lost(intact, changed, METRIC):
                ends = {"value": one.value, "ci_low": one.ci_low, "ci_high": one.ci_high, "exact": one.exact}
                size = {"n_seeds": one.n_seeds, "n_facts": one.n_facts}
                yield about | {"taught_from": first, "taught_to": last} | size | ends


def _shifts(found: Knockouts, arm: str) -> Iterator[dict[str, Any]]:
    """The shift of each part; of a kind of which an arm has one part alone, none."""
    rows, thirds = _grouped(found, arm, THIRDS)
    if len(thirds) < 2:
        return
    counts = counted(rows[rows["group"].isin([0, len(thirds) - 1])], "group")
    intact = counts[counts["change"] == "intact"]
    facts, whole = round(float(intact["facts"].mean())), _by_seed_and_group(intact)
    about = {"arm": arm, "sessions": found.sessions(arm), "metric": METRIC, "measure": SHIFT, "n_facts": facts}
    for _, of_kind in in_order(counts[counts["change"] == "without"]).groupby("unit", sort=False):
        parts = {
            part: _older_less_newer(of_part, whole) for part, of_part in of_kind.groupby(PART, dropna=False, sort=False)
        }
        seeds = set.intersection(*(set(one) for one in parts.values()))
        if len(parts) < 2 or not seeds:
            continue
        means = {seed: sum((one[seed] for one in parts.values()), Fraction(0)) / len(parts) for seed in seeds}
        shifts = [{seed: one[seed] - means[seed] for seed in sorted(seeds)} for one in parts.values()]
        for part, exact, p_adjusted in zip(parts, shifts, step_down(shifts), strict=True):
            by_seed = as_floats(exact)
            low, high = seed_interval(by_seed)
            value = float(by_seed.mean())
            which, why = verdict(value, low, high, p_adjusted, attainable(len(exact)))
            ends = {"n_seeds": len(exact), "value": value, "ci_low": low, "ci_high": high, "exact": exact}
            tested = {"p_value": sign_flip(exact), "p_adjusted": p_adjusted, "verdict": WORDS[which], "reason": why}
            yield about | dict(zip(PART, part, strict=True)) | ends | tested


def _older_less_newer(rows: pd.DataFrame, whole: dict[tuple[int, int], int]) -> BySeed:
    """Of one part the share of the oldest facts recalled that is lost without it, less that of the newest."""
    newest = int(rows["group"].max())
    left = _by_seed_and_group(rows)
    return {
        seed: Fraction(whole[seed, 0] - left[seed, 0], whole[seed, 0])
        - Fraction(whole[seed, newest] - left[seed, newest], whole[seed, newest])
        for seed in sorted({seed for seed, _ in left})
        if whole[seed, 0] and whole[seed, newest]
    }


def _by_seed_and_group(rows: pd.DataFrame) -> dict[tuple[int, int], int]:
    """Facts recalled."""
    return {(int(seed), int(group)): int(n) for seed, group, n in rows[["seed", "group", "recalled"]].to_numpy()}


def _grouped(found: Knockouts, arm: str, groups: int) -> tuple[pd.DataFrame, list[tuple[int, int]]]:
    """Rows of facts taught to an arm, with the ``group`` of their session, and from and to which session each goes."""
    sessions = np.arange(1, found.sessions(arm) + 1)
    cut = [part for part in np.array_split(sessions, groups) if len(part)]
    group_of = {int(session): at for at, part in enumerate(cut) for session in part}
    rows = found.rows[(found.rows["arm"] == arm) & (found.rows["probe"] == "taught")]
    return rows.assign(group=rows["session_taught"].map(group_of)), [(int(part[0]), int(part[-1])) for part in cut]


if __name__ == "__main__":
    table_step.step("atlas.tables.locate_by_age", __doc__, table)
