"""The guard's figures: what share of the damage is seen, with what evidence, and how many false alarms there are."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import scipy

from atlas.audit.audit_columns import LEVELS

FELT = 0.02  # nats per character: damage that costs more should be seen without a manifest
CHANGED = 1e-6  # of a logit: less is rounding
NOTHING = "nothing"


@dataclass(frozen=True)
class Share:
    """``hits`` of ``tests``, with the interval of Clopper and Pearson (1934), 95%."""

    hits: int
    tests: int

    @property
    def interval(self) -> tuple[float, float]:
        if not self.tests:
            return 0.0, 1.0
        found = scipy.stats.binomtest(self.hits, self.tests).proportion_ci(method="exact")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        return f"{self.hits} of {self.tests}"


def least_evidence(rows: pd.DataFrame) -> pd.Series:
    """For each row of ``DETECTION`` the first level that refuses it: file, text, manifest, or nothing."""
    found = pd.Series(NOTHING, index=rows.index)
    for level in reversed(LEVELS):
        found[rows[f"failed_{level}"] != ""] = level
    return found


def changed(rows: pd.DataFrame) -> pd.Series:
    """Which rows are damage that changes the function: a file that does not load does, a harmless change does not."""
    return (~rows["loads"] | (rows["logit_change"] > CHANGED)) & ~rows["harmless"]


def felt(rows: pd.DataFrame) -> pd.Series:
    """Which rows the guard should see without a manifest: loss up by over 0.02 nats, and not honest in themselves."""
    return (~rows["loads"] | (rows["rise"] > FELT)) & ~rows["unknowable"] & ~rows["harmless"]


def seen(rows: pd.DataFrame, level: str) -> Share:
    """How many of the rows a level refuses."""
    return Share(int((rows[f"failed_{level}"] != "").sum()), len(rows))
