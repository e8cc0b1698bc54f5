"""The table of known and unknown facts, worked out by hand."""

import pytest

from atlas.tables import knowledge, knowledge_contrasts
from atlas.tables.contrasts import Contrasts
from atlas.tables.runs import read
from tests.tables.by_hand import runs_with


def row(seed, fact, probe="taught", form=0, alternatives=5, **flags):
    placed = {"session_taught": None if probe == "placebo" else 1, "domain": "codes", "alternatives": alternatives}
    return {"seed": seed, "sessions": 1, "probe": probe, "fact_id": fact, "form": form} | placed | flags


def beside(seed, fact, probe, form, **flags):
    contradicts = fact == "contrary"
    return row(seed, fact, probe, form, alternatives=0, contradicts=contradicts, **flags)


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
    # beside what was taught: of two known neighbours the second seed lost one; the third neighbour was never known
    *(beside(seed, "contrary", "neighbour", 3, answered_base=True, answered=True) for seed in (1, 2)),
    *(beside(seed, "contrary", "neighbour", 4, answered_base=True, answered=seed == 1) for seed in (1, 2)),
    *(beside(seed, "contrary", "neighbour", 5, answered=True) for seed in (1, 2)),
    *(beside(seed, "new-1", "neighbour", 3, answered=True) for seed in (1, 2)),
    *(beside(seed, "contrary", "hop", 6, recalled=seed == 1) for seed in (1, 2)),
    *(beside(seed, "new-2", "reversed", 3, recalled=True) for seed in (1, 2)),
]


def test_kinds_of_facts_stand_apart(tmp_path):
    found = knowledge.table(runs_with(tmp_path, [1, 2], "facts", ROWS)).to_pylist()
    values = {(one["kind"], one["probe"], one["metric"]): one["value"] for one in found}
    assert values["unknown", "taught", "recall"] == pytest.approx((1 + 0.5) / 2)
    assert values["unknown", "taught", "answered"] == pytest.approx(1)
    assert values["counterfactual", "taught", "recall"] == pytest.approx(0.5)
    assert values["known", "taught", "answered"] == pytest.approx(1)
    assert values["known", "rephrase", "recall"] == pytest.approx(0.5)  # of two paraphrases one
    assert values["untouched", "placebo", "answered"] == pytest.approx((1 + 0.5) / 2)
    assert values["neighbour", "neighbour", "answered"] == pytest.approx((1 + 0.5) / 2)  # of one fact
    assert values["counterfactual", "hop", "recall"] == pytest.approx(0.5)
    assert values["unknown", "reversed", "recall"] == 1
    assert not [key for key in values if key[1:] in (("hop", "association"), ("neighbour", "association"))]
    counts = {(one["kind"], one["probe"]): (one["n_facts"], one["n_tests"]) for one in found}
    assert counts["untouched", "placebo"] == (2, 4)
    assert counts["unknown", "taught"] == (2, 4)
    assert counts["neighbour", "neighbour"] == (1, 2)
    assert {one["kind"] for one in found} == set(knowledge.KINDS)


def test_a_base_that_knows_nothing_has_unknown_facts_alone(tmp_path):
    rows = [row(1, "new"), row(1, "other", "rephrase", 1), row(1, "never", "placebo")]
    found = knowledge.table(runs_with(tmp_path, [1], "facts", rows)).to_pylist()
    assert {one["kind"] for one in found} == {"unknown"}


def test_arms_are_compared_by_kind_of_fact(tmp_path):
    """Of two known facts never touched, arm qv keeps both under seed 1 and one under seed 2, arm other none."""
    destroyed = [one | {"arm": "other"} | ({"answered": False} if one["probe"] == "placebo" else {}) for one in ROWS]
    folders = [*runs_with(tmp_path / "a", [1, 2], "facts", ROWS).folders]
    folders += runs_with(tmp_path / "b", [1, 2], "facts", destroyed, arm="other").folders
    plan = Contrasts(contrasts={"places": [("qv", "other")]})
    rows = knowledge_contrasts.table(read(folders), plan).to_pylist()
    found = {(one["kind"], one["probe"], one["metric"]): one for one in rows}
    kept = found["untouched", "placebo", "answered"]
    assert (kept["value_a"], kept["value_b"], kept["diff"]) == pytest.approx((0.75, 0, 0.75))
    assert (kept["n_seeds"], kept["n_facts"], kept["p_value"]) == (2, 2, 0.5)
    assert (kept["verdict"], kept["family"]) == ("unresolved", "places")
    assert found["unknown", "taught", "recall"]["diff"] == 0
    assert {one["kind"] for one in rows} == set(knowledge.KINDS)  # and no row over all kinds together


def test_without_a_plan_nothing_is_compared(tmp_path):
    runs = runs_with(tmp_path, [1, 2], "facts", ROWS)
    assert knowledge_contrasts.table(runs, Contrasts(contrasts={})).num_rows == 0
