"""How an adapter is spread over its slots: shares of parameters, update, gradient and knocked-out recall side by side.

Of each seed every slot has its share of the sum over slots, so that shares sum to one:

- ``parameters``: of the adapter's;
- ``norm``: squared Frobenius norm of the slot's scaled update BA. Squares, since those of the slots sum to that of the
  whole update;
- ``gradient``: squared norm of the gradient, by the slot's matrix, of the loss of all taught facts before any teaching:
  where a first step of descent would have gone;
- ``recall``: recall lost without the slot. Losses do not add up (each of several slots may be needed for all facts),
  so this share says how the loss is spread, not how large it is; a slot without which more is recalled has none.

A seed in which a sum is 0 has no shares of that source and is left out there. Intervals are Student's over seeds, cut
at 0 and 1. How alike two sources order the slots says Spearman's rank correlation over slots, seed by seed; its mean
has Student's interval, too, cut at -1 and 1. A seed in which all slots are tied in a source has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import stats

from atlas.errors import AtlasError
from atlas.tables import table_step
from atlas.tables.columns import LOCATE_SHARES
from atlas.tables.intervals import seed_interval
from atlas.tables.knockouts import SLOT, Knockouts, in_order, read, read_slots
from atlas.tables.runs import Runs

SHARE, CORRELATION = "share", "rank_correlation"
SOURCES = ("parameters", "norm", "gradient", "recall")


def table(runs: Runs) -> pa.Table:
    """One row per arm, slot and source, then one per pair of sources. Raises AtlasError where a file is damaged, or
    where slots.parquet and knockouts.parquet of a run are not of the same slots."""
    found, slots = read(runs), read_slots(runs).astype({"role": object})
    rows = [row for arm in runs.arms for row in _of_arm(arm, found, slots[slots["arm"] == arm])]
    return table_step.as_table(rows, LOCATE_SHARES)


def _of_arm(arm: str, found: Knockouts, slots: pd.DataFrame) -> Iterator[dict[str, Any]]:
    amounts = in_order(_amounts(arm, found, slots))
    shares = {source: amounts.pivot(index="seed", columns="slot", values=source) for source in SOURCES}
    order = list(dict.fromkeys(amounts["slot"]))
    for source, by_seed in shares.items():
        totals = by_seed.sum(axis=1)
        shares[source] = by_seed.div(totals, axis=0).loc[totals > 0, order]
    about = {"arm": arm, "sessions": found.sessions(arm)}
    for slot in order:
        for source, by_seed in shares.items():
            if len(by_seed):
                place = dict(zip(SLOT, slot, strict=True)) | {"measure": SHARE, "source": source}
                yield about | place | _over_seeds(by_seed[slot], found.runs, 0, source != "parameters")
    for one, other in combinations(SOURCES[1:], 2):
        both = shares[one].index.intersection(shares[other].index)
        pairs = {seed: (shares[one].loc[seed], shares[other].loc[seed]) for seed in both}
        alike = pd.Series(
            {
                seed: float(stats.spearmanr(*pair).statistic)
                for seed, pair in pairs.items()
                if min(ranked.nunique() for ranked in pair) > 1
            },
            dtype=float,
        )
        if len(alike):
            what = {"measure": CORRELATION, "source": one, "against": other}
            yield about | what | _over_seeds(alike, found.runs, -1)


def _amounts(arm: str, found: Knockouts, slots: pd.DataFrame) -> pd.DataFrame:
    """What each slot has of each source, seed by seed: seed, slot, the columns ``SLOT`` and ``SOURCES``."""
    counts = found.counts[(found.counts["arm"] == arm) & (found.counts["probe"] == "taught")]
    without = counts[(counts["change"] == "without") & (counts["unit"] == "slot")].astype({"role": object})
    both = slots.merge(without, on=["seed", *SLOT], how="outer", indicator=True)
    if (odd := both[both["_merge"] != "both"]).size:
        first = odd.iloc[0]
        lacking = "knockouts" if first["_merge"] == "left_only" else "slots"
        raise AtlasError(
            f"{found.runs.folder(arm, first['seed']) / lacking}.parquet: lacks role {first['role']!r} in layers "
            f"{first['first_layer']:.0f} to {first['last_layer']:.0f} of seed {first['seed']}, which the other file of "
            "the two has; locate the arm again"
        )
    intact = counts[counts["change"] == "intact"].set_index("seed")["recalled"]
    return both.assign(
        slot=pd.Series(list(both[SLOT].itertuples(index=False, name=None)), index=both.index),
        norm=both["norm"] ** 2,
        gradient=both["gradient_energy"],
        recall=(both["seed"].map(intact) - both["recalled"]).clip(lower=0),
    )


def _over_seeds(by_seed: pd.Series, runs: Runs, lowest: float, varies: bool = True) -> dict[str, Any]:
    low, high = np.clip(seed_interval(by_seed.to_numpy(float)), lowest, 1)
    ends = {"ci_low": low, "ci_high": high} if varies else {}
    return {"n_seeds": len(by_seed), "bases": runs.bases(by_seed.index), "value": by_seed.mean(), **ends}


if __name__ == "__main__":
    table_step.step("atlas.tables.locate_shares", __doc__, table)
