"""The answer on top of the page: what became of the essay's central claim, and of all of them, in a few sentences."""

from __future__ import annotations

import pandas as pd

from atlas.charts.findings import listed, presets, span, with_preset
from atlas.metrics import OF_FACTS
from atlas.page.prose import amount
from atlas.tables import verdicts
from atlas.tables.verdicts import CONTRADICTED, REPRODUCED

CENTRAL = "attention_ahead_100"
"""The claim that the essay is named for."""


def answer(claims: pd.DataFrame) -> tuple[str, str]:
    """The ledger in two sentences: what became of the essay's central claim, and of all of them."""
    rows = claims[(claims["claim_id"] == CENTRAL) & claims["metric"].isin(OF_FACTS)]
    statement = str(rows["statement"].iloc[0]).removesuffix(".")
    tested = rows[rows["verdict"] != verdicts.NOT_TESTABLE]
    tallies = " ".join(_tallies(claims, preset) for preset in presets(claims))
    if tested.empty:
        return f'The essay\'s central claim, "{statement}", cannot be tested at the size of this study.', tallies
    return f'The essay\'s central claim, "{statement}", is {_central(tested)}.', tallies


def _central(rows: pd.DataFrame) -> str:
    """Verdicts with their figures; of a further preset, too, where its verdicts are others than those of the first."""
    by_preset = {str(preset): part for preset, part in rows.groupby("preset", sort=False)}
    first, *others = by_preset
    parts = [_said_of(by_preset[first]) + (f", with preset {first}" if others else "")]
    for preset in others:
        same = list(by_preset[preset]["verdict"]) == list(by_preset[first]["verdict"])
        parts.append(f"with preset {preset} {'the verdicts are the same' if same else _said_of(by_preset[preset])}")
    return "; ".join(parts)


def _said_of(rows: pd.DataFrame) -> str:
    return "; ".join(
        f"{row['verdict']} under {row['metric']}, {amount(row['measured'], row['ci_low'], row['ci_high'], row['unit'])}"
        for row in rows.to_dict("records")
    )


def _tallies(everything: pd.DataFrame, preset: str) -> str:
    claims = everything[everything["preset"] == preset]
    tested = claims[claims["metric"].isin(OF_FACTS) & (claims["verdict"] != verdicts.NOT_TESTABLE)]
    if tested.empty:
        return "None of its claims can be tested at the size of this study."
    number = tested.groupby("metric")["verdict"].value_counts().unstack(fill_value=0)
    number = number.reindex(index=[m for m in OF_FACTS if m in number.index], columns=verdicts.VERDICTS, fill_value=0)
    said = listed(
        f"{metric} reproduces {row[REPRODUCED]} and contradicts {row[CONTRADICTED]}"
        for metric, row in number.iterrows()
    )
    placebo = claims.query("topic == 'retention'")["placebo"].dropna()
    worth = f"; but facts never taught pass recognition in {span(placebo.min(), placebo.max())} of cases"
    number_of = f"{tested['claim_id'].nunique()} claims that can be tested{with_preset(preset, everything)}"
    return f"Of its {number_of}, {said}{worth if len(placebo) else ''}."
