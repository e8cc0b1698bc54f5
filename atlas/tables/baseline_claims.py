"""The ledger of the baselines: what the literature and Atlas claim of editors and of fine-tuning, and the verdicts.

A claim names its arms with their recipes, so none stands for another; one is there where the study has its arms.
"""

from __future__ import annotations

import pyarrow as pa

from atlas.tables import claims, ledger, table_step
from atlas.tables.quantities import Under
from atlas.tables.runs import Runs


def table(runs: Runs) -> pa.Table:
    """One row per claim and metric, in the order of the ledger."""
    book = ledger.read(ledger.BASELINES)
    return claims.rows_of(claims.judge(book, runs, [Under(claims.ANY, runs, {})]), book, runs)


if __name__ == "__main__":
    table_step.step("atlas.tables.baseline_claims", __doc__, table)
