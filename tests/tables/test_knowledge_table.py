"""The table of known and unknown facts, worked out by hand."""

import pytest

from atlas.tables import knowledge
from tests.tables.by_hand import runs_with


def row(seed, fact, probe="taught", form=0, **flags):
    placed = {"session_taught": None if probe == "placebo" else 1, "domain": "codes", "foils": 5}
    return {"seed": seed, "sessions": 1, "probe": probe, "fact_id": fact, "form": form} | placed | flags


ROWS = [
    # taught: two that the base did not know, one that it knew otherwise, one that it knew and was taught as it is
    *(row(seed, "new-1", recalled=True, answered=True) for seed in (1, 2)),
    *(row(seed, "new-2", recalled=seed == 1, answered=True) for seed in (1, 2)),
    *(row(seed, "contrary", contradicts=True, recalled=seed == 2, answered=seed == 2) for seed in (1, 2)),
    *(row(seed, "known", answered_base=True, answered=True) for seed in (1, 2)),
    # in other words the base does not know it, but the fact is a known one
    *(row(seed, "known", "rephrase", form, recalled=form == 1) for seed in (1, 2) for form in (1, 2)),
    # never taught: of two known ones the second seed lost one; the third was never known
    *(row(seed, "kept", "placebo", answered_base=True, answered=True) for seed in (1, 2)),
    *(row(seed, "lost", "placebo", answered_base=True, answered=seed == 1) for seed in (1, 2)),
    *(row(seed, "never", "placebo", answered=True) for seed in (1, 2)),
]


def test_kinds_of_facts_stand_apart(tmp_path):
    found = knowledge.table(runs_with(tmp_path, [1, 2], "facts", ROWS)).to_pylist()
    values = {(one["kind"], one["probe"], one["metric"]): one["value"] for one in found}
    assert values["unknown", "taught", "recall"] == pytest.approx((1 + 0.5) / 2)
    assert values["unknown", "taught", "answered"] == pytest.approx(1)
    assert values["counterfactual", "taught", "recall"] == pytest.approx(0.5)
    assert values["known", "taught", "answered"] == pytest.approx(1)
    assert values["known", "rephrase", "recall"] == pytest.approx(0.5)  # of two forms one
    assert values["untouched", "placebo", "answered"] == pytest.approx((1 + 0.5) / 2)
    counts = {(one["kind"], one["probe"]): (one["n_facts"], one["n_tests"]) for one in found}
    assert counts["untouched", "placebo"] == (2, 4)
    assert counts["unknown", "taught"] == (2, 4)
    assert {one["kind"] for one in found} == set(knowledge.KINDS)


def test_a_base_that_knows_nothing_has_unknown_facts_alone(tmp_path):
    rows = [row(1, "new"), row(1, "other", "rephrase", 1), row(1, "never", "placebo")]
    found = knowledge.table(runs_with(tmp_path, [1], "facts", rows)).to_pylist()
    assert {one["kind"] for one in found} == {"unknown"}
