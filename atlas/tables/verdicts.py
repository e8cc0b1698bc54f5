"""The rules by which claims are judged, and the verdicts that follow from them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from atlas.tables import inference

if TYPE_CHECKING:  # charts take the words from here, and should not wait for what reads YAML
    from atlas.tables.ledger import Measure

REPRODUCED, CONTRADICTED, UNRESOLVED, NOT_TESTABLE = "reproduced", "contradicted", "unresolved", "not testable"

HALF, TWICE = 0.5, 2.0  # of the margin: what becomes of a verdict there stands beside it

RULES = """\
The rules by which claims are judged. What each asks for stands beside its verdict, in words.

A margin is half of the effect that the essay claims: of what its figures of attention and of feed-forward adapters
differ by in that cell (of the arms that a claim on other arms names; over all facts where they do not differ in a
domain). Beside each verdict stand those at half and at twice the margin.

exact         reproduced where our number lies less than one unit of the last printed digit from the essay's (so that
              it does not matter whether the essay rounds or cuts), else contradicted. There is no margin.
value         a share of facts. Reproduced where our whole interval lies within the margin of the essay's figure,
              contradicted where our whole interval lies outside it.
same          a difference, or a slope, that the essay says is next to nothing: the margin is taken in proportion to
              what the arm that it is measured by retains, so that two arms that forget all are not called the same.
              Reproduced and contradicted as for ``value``; where more is no contradiction, only a lack counts.
order         a paired difference, or a slope, that the essay says is above 0. Reproduced where the whole interval is
              above 0, contradicted where it is below 0; either needs p < ``LEVEL``, sign-flip test over seeds,
              corrected for the claims on one topic under one metric. There is no margin.
spread        as ``order``, of the variance over recipes less that over placements, each cleared of noise.
spared        facts do not sit in a part of an adapter that was trained at all places: next to none are lost when it is
              knocked out. Were they there, most would be lost, more than half of those recalled; half of that is the
              margin, a quarter of what the intact adapter retains. Reproduced where the whole interval of the loss lies
              below it, contradicted where it lies above it. Where several parts are named, they are knocked out one by
              one, and the loss is their mean.
needed        as ``order``, of the loss without a slot (a role in a layer) of one place less that of another, each the
              mean over its slots, which are of one size.
not testable  the study lacks what the claim needs, no such study could tell, or the essay's figure is too vague: its
              own interval, which follows from the facts behind it, is wider than the margin to both sides, so that even
              a study that retains exactly as much could not be held against it. Such claims are in no count.

Each preset of the recipe is judged by itself, on the arms that have it: a correction does not reach across presets.

All else is unresolved, as is everything that only one seed speaks of. Margins follow from what the essay prints, and
from no result; but rules with one margin for all claims stood here before, and what they gave had been seen."""
"""As the ledger prints them; a constant, so that the digest of the step that prints them covers them."""


def exact(measured: float, essay: float, within: float) -> str:
    """The verdict on a number of parameters; ``within`` is one unit of the essay's last digit."""
    return REPRODUCED if abs(measured - essay) < within else CONTRADICTED


def near(difference: Measure, margin: float, one_sided: bool = False) -> str:
    """The verdict on a difference that should be at most the margin; with ``one_sided`` only a lack counts."""
    if math.isnan(difference.low):
        return UNRESOLVED
    if difference.high < -margin or (difference.low > margin and not one_sided):
        return CONTRADICTED
    inside = -margin < difference.low and (one_sided or difference.high < margin)
    return REPRODUCED if inside else UNRESOLVED


def vague(essay: Measure, margin: float) -> bool:
    """Whether a figure is known so badly that nothing could be held against it: its interval is wider than the margin
    to both sides."""
    return bool(essay.high - essay.low > 2 * margin)


def above(measured: Measure, p_adjusted: float, attainable: float) -> tuple[str, str]:
    """The verdict on a figure that should be above 0, and why there is none where there is none."""
    said, why = inference.verdict(measured.value, measured.low, measured.high, p_adjusted, attainable)
    return {"a > b": REPRODUCED, "b > a": CONTRADICTED, "unresolved": UNRESOLVED}[said], why
