"""What the guard's figures count, by rows written down by hand."""

import pandas as pd
import pytest

from atlas.audit.audit_columns import LEVELS
from atlas.audit.detection_rates import Share, changed, felt, least_evidence, seen
from atlas.audit.views import by_view

ROWS = pd.DataFrame(
    [
        # subject, family, loads, rise, logit_change, harmless, unknowable, failed at: file, text, model, manifest
        ("opt", "names", False, None, None, False, False, "names", "names", "names", "names"),
        ("opt", "misplaced", True, 0.5, 1.0, False, False, "", "siblings", "siblings", "sha256, siblings"),
        ("llama", "buffers", True, 0.03, 1.0, False, False, "", "", "buffers", "buffers"),
        ("llama", "misplaced", True, 0.5, 1.0, False, True, "", "", "", "sha256"),
        ("llama", "misplaced", True, 0.01, 0.1, False, False, "", "", "", ""),
        ("llama", "harmless", True, 0.0, 1e-7, True, False, "", "", "", "sha256"),
    ],
    columns=[
        "subject",
        "family",
        "loads",
        "rise",
        "logit_change",
        "harmless",
        "unknowable",
        *(f"failed_{level}" for level in LEVELS),
    ],
)


def test_the_least_evidence_that_refuses():
    assert list(least_evidence(ROWS)) == ["file", "text", "model", "manifest", "nothing", "manifest"]


def test_what_is_felt_and_what_changes_the_function():
    assert list(felt(ROWS)) == [True, True, True, False, False, False]
    assert list(changed(ROWS)) == [True, True, True, True, True, False]


def test_shares_are_counted_with_their_interval():
    assert str(seen(ROWS[felt(ROWS)], "text")) == "2 of 3"
    assert str(seen(ROWS[felt(ROWS)], "model")) == "3 of 3"
    assert Share(0, 216).interval == pytest.approx((0, 1 - 0.025 ** (1 / 216)))  # no event: a closed form
    assert Share(0, 0).interval == (0.0, 1.0)


def test_what_each_view_sees_by_architecture_and_family():
    found = {(row["subject"], row["family"]): row for row in by_view(ROWS)}
    assert len(found) == 12
    whole = found["all", "all"]
    assert (whole["damages"], whole["felt"], whole["changed"]) == (6, 3, 5)
    assert [whole[f"seen_{level}"] for level in LEVELS] == [1, 2, 3, 3]
    assert whole["changed_seen_manifest"] == 4
    assert (found["llama", "buffers"]["seen_text"], found["llama", "buffers"]["seen_model"]) == (0, 1)
