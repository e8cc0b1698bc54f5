"""Successive halving: what a rung of the search leaves behind, and which candidates the next rung tries.

Candidates are ranked by recall and cost together, so that cheap ones survive beside thorough ones. Imports no torch,
so that reading costs nothing that training needs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

TRIALS = pa.schema(
    [
        ("arm", pa.string()),
        ("candidate", pa.string()),
        ("rung", pa.int32()),  # from 0
        ("sessions", pa.int32()),
        ("seed", pa.int32()),
        ("recall", pa.float64()),  # of all facts taught, as taught; shares from 0 to 1
        ("association", pa.float64()),  # null where no fact has an alternative
        ("recognition", pa.float64()),
        ("recognition_placebo", pa.float64()),  # of facts never taught; null where there are none
        ("recall_rephrase", pa.float64()),  # of paraphrases that are never taught; null where there are none
        ("val_loss_base", pa.float64()),  # nats per character
        ("val_loss", pa.float64()),  # with the adapter
        ("characters", pa.int64()),  # tokens that were trained, each as often as it was
        ("core_seconds", pa.float64()),  # of training, with what its recipe measures to choose by
        ("recipe", pa.string()),  # JSON; of an editor, its settings
    ]
)
"""trials.parquet: one row per (candidate, seed) that a rung tried."""


def survivors(trials: pd.DataFrame, count: int) -> list[str]:
    """The candidates that the next rung tries, best first.

    Candidates are peeled off front by front: first those that no other one beats in both recall and tokens trained
    (means over seeds), then those that only the first ones beat, and so on (non-dominated sorting, Deb et al. 2002,
    NSGA-II, section III.A). Within a front the higher recall goes first, then the cheaper one, then the name.
    """
    means = trials.groupby("candidate")[["recall", "characters"]].mean().sort_index()
    means["front"] = fronts(means["recall"].to_numpy(), means["characters"].to_numpy())
    order = means.assign(less=-means["recall"]).sort_values(["front", "less", "characters"], kind="stable")
    return [str(name) for name in order.index[:count]]


def fronts(gain: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Number of the front that each candidate is on, int64 (candidates,), from 0: those that none beats.

    One beats another where it has no less gain at no more cost, and is better in one of the two.
    """
    no_worse = (gain[:, None] >= gain) & (cost[:, None] <= cost)
    beats = no_worse & ((gain[:, None] > gain) | (cost[:, None] < cost))  # (who, whom)
    found = np.full(len(gain), -1)
    front = 0
    while (left := found < 0).any():
        found[left & ~beats[left].any(axis=0)] = front
        front += 1
    return found
