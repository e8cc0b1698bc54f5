"""The rules by which claims are judged, and the verdicts that follow from them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from atlas.tables import inference

if TYPE_CHECKING:  # charts take the words from here, and should not wait for what reads YAML
    from atlas.tables.ledger import Measure

REPRODUCED, CONTRADICTED, UNRESOLVED, NOT_TESTABLE = "reproduced", "contradicted", "unresolved", "not testable"

MARGIN = 0.10

RULES = """\
The rules by which claims are judged, written down before the study that they judge was run.

(An earlier study of four seeds had been seen by then; no rule and no margin was chosen by its figures.)

exact         reproduced where our number lies less than one unit of the last printed digit from the essay's (so that
              it does not matter whether the essay rounds or cuts), else contradicted.
value         our share less the essay's, with the interval of both (MOVER). Reproduced where the whole interval lies
              within ``MARGIN`` of 0; contradicted where it excludes 0 and the difference is beyond ``MARGIN``.
order         a paired difference, or a slope, that the essay says is above 0. Reproduced where the whole interval is
              above 0, contradicted where it is below 0; either needs p < ``LEVEL``, sign-flip test over seeds, after
              Holm's correction over the claims on one topic under one metric.
same          a difference, or a slope, that the essay says is next to nothing: within ``MARGIN`` times what the arm
              that it is measured by retains, so that two arms that forget all are not called the same. Reproduced and
              contradicted as for ``value``; where more is no contradiction, only the lower end counts.
spread        as ``order``, of the variance over recipes less that over placements, each cleared of noise.
not testable  the study lacks what the claim needs, or no such study could tell.

Each preset of the recipe is judged by itself, on the arms that have it: a family of Holm's correction does not reach
across presets.

All else is unresolved, as is everything that only one seed speaks of. The margin is the same for all claims and
metrics: wide enough that a figure that rests on 90 facts can be reproduced at all (its own interval reaches 6 points
to one side), and far too narrow for one that rests on 15, which can only be contradicted."""
"""As the ledger prints them; a constant, so that the digest of the step that prints them covers them."""


def exact(measured: float, essay: float, within: float) -> str:
    """The verdict on a number of parameters; ``within`` is one unit of the essay's last digit."""
    return REPRODUCED if abs(measured - essay) < within else CONTRADICTED


def near(difference: Measure, margin: float = MARGIN, one_sided: bool = False) -> str:
    """The verdict on a difference that should be none; with ``one_sided`` only what falls short counts."""
    if math.isnan(difference.low):
        return UNRESOLVED
    short = difference.high < 0 and difference.value < -margin
    beyond = difference.low > 0 and difference.value > margin
    if short or (beyond and not one_sided):
        return CONTRADICTED
    inside = -margin < difference.low and (one_sided or difference.high < margin)
    return REPRODUCED if inside else UNRESOLVED


def above(measured: Measure, p_adjusted: float, attainable: float) -> tuple[str, str]:
    """The verdict on a figure that should be above 0, and why there is none where there is none."""
    said, why = inference.verdict(measured.value, measured.low, measured.high, p_adjusted, attainable)
    return {"a > b": REPRODUCED, "b > a": CONTRADICTED, "unresolved": UNRESOLVED}[said], why
