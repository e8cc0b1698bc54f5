"""The ledger of claims: what the essay says, what the study measured, and a verdict by the rules of verdicts.py."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from atlas.tables import ledger, output
from atlas.tables.judge import Judged, judge
from atlas.tables.ledger import Exact, Spread, Untestable, Value
from atlas.tables.runs import Runs
from atlas.tables.schema import CLAIMS
from atlas.workflow.steps import run_step


def table(runs: Runs) -> pa.Table:
    """One row per preset, claim and metric, in the order of the ledger."""
    return output.as_table([_row(one) for one in judge(ledger.read(), runs)], CLAIMS)


def _row(one: Judged) -> dict[str, Any]:
    claim, said, found = one.claim, one.said, one.found
    return {
        "claim_id": claim.id,
        "topic": claim.topic,
        "kind": claim.rule,
        "label": claim.label,
        "statement": claim.statement,
        "preset": one.preset,
        "arms": ",".join(one.arms),
        "metric": one.metric,
        "unit": unit(one),
        "essay_value": said.value,
        "essay_ci_low": said.low,
        "essay_ci_high": said.high,
        "measured": found.value,
        "ci_low": found.low,
        "ci_high": found.high,
        "placebo": one.placebo,
        "n_seeds": one.n_seeds,
        "p_value": one.p_value,
        "p_adjusted": one.p_adjusted,
        "verdict": one.verdict,
        "note": "; ".join(one.notes),
    }


def unit(one: Judged) -> str:
    """What a claim's numbers are: those of facts are fractions of 1, whatever they are called."""
    claim = one.claim
    if isinstance(claim, Untestable):
        return "none"
    if isinstance(claim, Exact):
        return {None: "parameters", "model": "share"}.get(claim.over, "multiple")
    if isinstance(claim, Value):
        return "share"
    if isinstance(claim, Spread):
        return "spread"
    return "slope" if claim.by_size else "difference"


def main() -> None:
    """Write claims.parquet for the runs given, of arms and of ablations."""
    output.make("atlas.tables.claims", __doc__, table)


if __name__ == "__main__":
    run_step(main)
