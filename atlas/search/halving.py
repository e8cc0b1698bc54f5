"""Which candidates a rung of the search tries, and which a closing round, by the trials before; and what trials hold.

Candidates are ranked by recall alone, mean over the tuning seeds; what they cost is reported, and decides ties only.
Imports no torch, so that reading costs nothing that training needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from atlas.workflow import files

TRIALS = pa.schema(
    [
        ("arm", pa.string()),
        ("candidate", pa.string()),  # its settings and, of a grid, its learning rate
        ("settings", pa.string()),  # candidates of the same settings differ in their learning rate alone
        ("lr", pa.float64()),  # of the recipe's first phase; null of an editor
        ("lr_below", pa.float64()),  # the rates beside it on the grid, which goes on beyond its ends; null without one
        ("lr_above", pa.float64()),
        ("rung", pa.int32()),  # from 0; closing rounds are behind the rungs
        ("round", pa.int32()),  # which closing round, from 1; 0 of a rung
        ("sessions", pa.int32()),
        ("seed", pa.int32()),
        ("n_facts", pa.int32()),  # taught
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
"""trials.parquet: one row per (candidate, seed) that a rung or closing round tried."""


def read(paths: Sequence[Path]) -> pd.DataFrame:
    """All trials of some files. Raises AtlasError where one is missing or damaged."""
    found: pd.DataFrame = pa.concat_tables([files.read_parquet(path, TRIALS) for path in paths]).to_pandas()
    return found


def ranked(trials: pd.DataFrame) -> pd.DataFrame:
    """Candidates of one arm that were taught as many facts, best first: by recall, mean over seeds; of equal ones the
    one that trained fewer tokens, then by name.

    One row each, by name: settings, lr, lr_below, lr_above, missed (facts of all seeds, a whole number, so that equal
    recall is equal) and characters.
    """
    missed = ((1 - trials["recall"]) * trials["n_facts"]).round()
    of_each = trials.assign(missed=missed).groupby("candidate", sort=True)
    alike = of_each[["settings", "lr", "lr_below", "lr_above"]].first()
    return alike.join(of_each[["missed", "characters"]].sum()).sort_values(["missed", "characters"], kind="stable")


def untried(trials: pd.DataFrame) -> list[tuple[str, float]]:
    """What a closing round tries: of the best of an arm's longest trials the neighbours on its grid of learning rates
    that were not tried as long, as settings and rates; none where it has no grid."""
    longest = trials[trials["sessions"] == trials["sessions"].max()]
    best = ranked(longest).iloc[0]
    tried = {*longest.loc[longest["settings"] == best["settings"], "lr"]}
    return [(best["settings"], lr) for lr in (best["lr_below"], best["lr_above"]) if lr < 1 and lr not in tried]


def neighbours(rates: Sequence[float], rate: float) -> tuple[float, float]:
    """The rates below and above one on a grid, or on what goes on beyond its ends by the same factors (to three
    digits)."""
    grid = [*rates]
    while rate <= grid[0]:
        grid.insert(0, float(f"{grid[0] * rates[0] / rates[1]:.3g}"))
    while rate >= grid[-1]:
        grid.append(float(f"{grid[-1] * rates[-1] / rates[-2]:.3g}"))
    at = grid.index(rate)
    return grid[at - 1], grid[at + 1]
