"""Who goes on: candidates are ranked by recall and cost together, so that cheap ones survive beside thorough ones."""

from __future__ import annotations

import numpy as np
import pandas as pd


def survivors(trials: pd.DataFrame, count: int) -> list[str]:
    """The candidates that the next rung tries, best first.

    Candidates are peeled off front by front: first those that no other one beats in both recall and characters trained
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
    for front in range(len(gain)):
        left = found < 0
        if not left.any():
            break
        found[left & ~beats[left].any(axis=0)] = front
    return found
