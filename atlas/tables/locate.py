"""Where taught facts sit: what is left of them, and lost, as parts of the trained adapter are knocked out.

For every change of every part (``atlas.tables.knockouts``): recall and association of taught facts, the same of facts
never taught, which knock-outs should not move, and the rise in base loss. What is lost is that of the intact adapter
less what is left, paired by seed.

A part that many facts are lost without is needed for them; that alone does not say that they sit there and nowhere
else. Facts that sit in one part alone are left with ``only`` that part; where each of several parts is needed, they sit
in all of them together. ``rotated`` keeps the size of a part's update and destroys its content; ``halved`` keeps the
content.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.tables import table_step
from atlas.tables.columns import LOCATE
from atlas.tables.intervals import Estimate, estimate, seed_interval
from atlas.tables.knockouts import HITS, PART, Knockouts, in_order, lost, read, sample
from atlas.tables.runs import Runs

LEFT, LOST = "left", "lost"


def table(runs: Runs) -> pa.Table:
    """One row per arm, change, part, probe, metric and measure. AtlasError as of ``atlas.tables.knockouts.read``."""
    return table_step.as_table(frame(read(runs)), LOCATE)


def frame(found: Knockouts) -> pd.DataFrame:
    """The table as a frame, arms in the order of the study, parts as people read them."""
    rows = []
    for arm in found.arms:
        counts = found.counts[found.counts["arm"] == arm]
        about = {"arm": arm, "sessions": found.sessions(arm)}
        whole = {str(probe): part for probe, part in counts[counts["change"] == "intact"].groupby("probe")}
        parts = in_order(counts).groupby([*PART, "probe"], dropna=False, sort=False)
        for (*part, probe), changed in parts:
            place = about | dict(zip(PART, part, strict=True))
            rows += [place | {"probe": probe} | row for row in _of_facts(changed, whole[str(probe)])]
            if probe == "taught":
                rows += [place | row for row in _of_base(changed, whole[str(probe)])]
    made = pd.DataFrame(rows).rename(columns={"unit": "part"})
    return made.assign(bases=[found.runs.bases(seeds) for seeds in made["exact"]])


def _of_facts(changed: pd.DataFrame, intact: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """What is left and lost of each metric, of one probe."""
    for metric in HITS:
        estimates: dict[str, Estimate | None] = {LEFT: estimate(sample(changed, metric))}
        if changed["change"].iloc[0] != "intact":
            estimates[LOST] = lost(intact, changed, metric)
        for measure, one in estimates.items():
            if one:
                yield {"metric": metric, "measure": measure, **asdict(one)}


def _of_base(changed: pd.DataFrame, intact: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rise in base loss that is left, and that is lost, which is what the part cost the base."""
    rise, whole = (rows["base_loss_rise"].to_numpy(float) for rows in (changed, intact))  # both by seed, in order
    measures = {LEFT: rise}
    if changed["change"].iloc[0] != "intact":
        measures[LOST] = whole - rise
    for measure, by_seed in measures.items():
        low, high = seed_interval(by_seed)
        about = {"metric": "rise", "measure": measure, "n_seeds": len(by_seed), "exact": list(changed["seed"])}
        yield about | {"value": by_seed.mean(), "ci_low": low, "ci_high": high, "few_seeds": None, "left_out": math.nan}


if __name__ == "__main__":
    table_step.step("atlas.tables.locate", __doc__, table)
