"""What the guard's figures count, by rows written down by hand."""

import pandas as pd
import pytest

from atlas.audit.audit_columns import LEVELS
from atlas.audit.detection_rates import Share, changed, felt, least_evidence, seen

ROWS = pd.DataFrame(
    [
        # loads, rise, logit_change, harmless, unknowable, failed at: file, text, manifest
        (False, None, None, False, False, "names", "names", "names"),
        (True, 0.5, 1.0, False, False, "", "siblings", "sha256, siblings"),
        (True, 0.03, 1.0, False, False, "", "", "sha256"),
        (True, 0.5, 1.0, False, True, "", "", "sha256"),
        (True, 0.01, 0.1, False, False, "", "", ""),
        (True, 0.0, 1e-7, True, False, "", "", "sha256"),
    ],
    columns=["loads", "rise", "logit_change", "harmless", "unknowable", *(f"failed_{level}" for level in LEVELS)],
)


def test_the_least_evidence_that_refuses():
    assert list(least_evidence(ROWS)) == ["file", "text", "manifest", "manifest", "nothing", "manifest"]


def test_what_is_felt_and_what_changes_the_function():
    assert list(felt(ROWS)) == [True, True, True, False, False, False]
    assert list(changed(ROWS)) == [True, True, True, True, True, False]


def test_shares_are_counted_with_their_interval():
    assert str(seen(ROWS[felt(ROWS)], "text")) == "2 of 3"
    assert Share(0, 216).interval == pytest.approx((0, 1 - 0.025 ** (1 / 216)))  # no event: a closed form
    assert Share(0, 0).interval == (0.0, 1.0)
