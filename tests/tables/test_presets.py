"""Which arms stand for those of the ledger under another preset, and how both presets are judged."""

from fractions import Fraction

import pandas as pd
import pytest

from atlas.tables import claims, ledger, quantities
from atlas.tables.claims import ANY
from atlas.tables.runs import Runs
from tests.synthetic import SyntheticArm, arms_like_the_study
from tests.tables.made_claims import ARMS, AS_PUBLISHED, SEEDS, study

BOOK = ledger.read()
RECALL = {"preset": "recall", "phases": {"all": {"steps": 2}}}
STUDY = arms_like_the_study()
UNDER_RECALL = {
    "good_qv": SyntheticArm(recipe=RECALL),
    "good_ffn": SyntheticArm(("down", "up"), recipe=RECALL),  # in another order than the arm that it stands for
    "good_qv_narrow": SyntheticArm(ranks=(8,) * 4, recipe=RECALL),  # no arm of the ledger is there
    "good_qv_again": SyntheticArm(recipe=RECALL | {"clip": 2.0}),  # a variant of the first
}


@pytest.fixture
def both(monkeypatch) -> Runs:
    """The essay's two arms and a variant; with preset recall qv forgets all and ffn nothing."""
    monkeypatch.setattr("tests.tables.made_claims.ARMS", ARMS | UNDER_RECALL)
    kept = {("good_ffn", sessions, "taught"): Fraction(1) for sessions in (30, 100)}
    names = ["qv", "ffn", "qv_single_phase", *UNDER_RECALL]
    return study(AS_PUBLISHED | kept, arms=names)


def test_arms_are_found_by_their_place(both):
    essay, recall = quantities.under_each(BOOK, both)
    assert (essay.preset, essay.own) == ("essay", {name: name for name in ("qv", "ffn", "qv_single_phase")})
    assert (recall.preset, recall.own) == ("recall", {"qv": "good_qv", "ffn": "good_ffn"})
    assert recall.runs.arms == ["qv", "ffn", "good_qv_narrow", "good_qv_again"]
    assert recall.named("qv_ffn") == "qv_ffn"


def test_the_facts_are_those_of_the_arms_that_stand_there(both):
    recall = quantities.under_each(BOOK, both)[1].runs
    assert [record.arm for record in recall.records] == recall.arms
    assert set(recall.facts["arm"]) == set(recall.arms)
    of_ffn = recall.facts[recall.facts["arm"] == "ffn"].drop(columns="arm").reset_index(drop=True)
    origin = both.facts[both.facts["arm"] == "good_ffn"].drop(columns="arm").reset_index(drop=True)
    pd.testing.assert_frame_equal(of_ffn, origin)


def test_arms_on_another_base_do_not_stand_for_those_on_the_certified_one(monkeypatch):
    other = {"good_qv": SyntheticArm(recipe=RECALL, reinit=("up", "down"))}
    monkeypatch.setattr("tests.tables.made_claims.ARMS", ARMS | other)
    found = quantities.under_each(BOOK, study({}, arms=["qv", "ffn", "good_qv"], seeds=(1,), checkpoints=(30,)))
    assert [under.preset for under in found] == ["essay"]


def test_a_study_of_one_preset_is_judged_under_its_name(monkeypatch):
    own = {"qv": SyntheticArm(recipe={"preset": "mine", "phases": {"all": {"steps": 1}}})}
    monkeypatch.setattr("tests.tables.made_claims.ARMS", ARMS | own)
    (under,) = quantities.under_each(BOOK, study({}, arms=["qv"], seeds=(1,), checkpoints=(30,)))
    assert (under.preset, under.own) == ("mine", {"qv": "qv"})


def test_without_an_arm_of_the_ledger_no_claim_is_testable():
    (under,) = quantities.under_each(BOOK, study({}, arms=["other"], seeds=(1,), checkpoints=(30,)))
    assert (under.preset, under.runs.arms) == ("essay", ["other"])


def test_a_claim_is_judged_under_each_preset_that_can_test_it(both):
    frame = claims.table(both).to_pandas()
    central = frame[(frame["claim_id"] == "attention_ahead_100") & (frame["metric"] == "recall")]
    assert central["preset"].tolist() == ["essay", "recall"]
    assert central["arms"].tolist() == ["qv,ffn", "good_qv,good_ffn"]
    assert central["verdict"].tolist() == ["reproduced", "contradicted"]
    assert central["measured"].tolist() == pytest.approx([1 - 284 / 300, -1])
    recall = frame[frame["preset"] == "recall"]
    assert "not testable" not in set(recall["verdict"])
    assert "two_phases_help" not in set(recall["claim_id"])  # nothing stands for a variant
    assert "retention_qv_ffn_100" not in set(recall["claim_id"])
    assert set(recall["n_seeds"]) == {len(SEEDS)}


def test_what_is_not_about_teaching_is_judged_once(both):
    frame = claims.table(both).to_pandas()
    once = frame[frame["kind"].isin(["exact", "not testable"])]
    assert set(once["preset"]) == {ANY}
    assert not once["claim_id"].duplicated().any()
    assert frame.loc[frame["claim_id"] == "ratio_ffn_qv", "arms"].tolist() == ["ffn,qv"]


def test_a_correction_does_not_reach_across_presets(both):
    frame = claims.table(both).to_pandas()
    placement = frame[(frame["topic"] == "placement") & (frame["metric"] == "recall") & frame["p_value"].notna()]
    for _, family in placement.groupby("preset"):  # three comparisons of qv and ffn under each
        assert len(family) == 3
        assert family["p_adjusted"].min() == 2 / 2 ** len(SEEDS)


def test_editors_stand_beside_the_arms_of_every_preset(monkeypatch):
    monkeypatch.setattr("tests.tables.made_claims.ARMS", ARMS | UNDER_RECALL)
    runs = study(AS_PUBLISHED, arms=["qv", "rome", "good_qv"])
    arms = {under.preset: under.runs.arms for under in quantities.under_each(BOOK, runs)}
    assert arms == {"essay": ["qv", "rome"], "recall": ["rome", "qv"]}
    judged = claims.table(runs).to_pandas().set_index(["preset", "claim_id", "metric"])
    for preset in arms:
        assert judged.loc[(preset, "attention_over_rome_30", "recall"), "verdict"] != "not testable"


def test_an_arm_of_another_rank_stands_for_a_place_where_none_has_its_size(monkeypatch):
    small = {
        "qv_recall": SyntheticArm(recipe=RECALL),
        "qv_again": SyntheticArm(ranks=(16,) * 4, recipe=RECALL),  # qv has one of its size already
        "small_ffn": SyntheticArm(("up", "down"), ranks=(13,) * 4, recipe=RECALL),
    }
    monkeypatch.setattr("tests.tables.made_claims.ARMS", ARMS | small)
    kept = {("small_ffn", sessions, "taught"): Fraction(1) for sessions in (30, 100)}
    names = ["qv", "ffn", "qv_mid", "qv_single_phase", "untrained", *small]
    runs = study(AS_PUBLISHED | kept, arms=names)
    recall = quantities.under_each(BOOK, runs)[1]
    assert recall.own == {"qv": "qv_recall", "ffn": "small_ffn"}  # nothing stands for ranks of several sizes
    assert [*recall.resized] == ["ffn"]
    frame = claims.table(runs).to_pandas().query("preset == 'recall' and metric == 'recall'").set_index("claim_id")
    central = frame.loc["attention_ahead_100"]
    assert (central["arms"], central["verdict"]) == ("qv_recall,small_ffn", "contradicted")
    assert "small_ffn stands for ffn, with 66,560 parameters, not 163,840" in central["note"]
    assert "retention_qv_100" in frame.index
    assert "retention_ffn_100" not in frame.index  # a figure is that of an adapter of its size
    assert "stands for" not in frame.loc["retention_qv_100", "note"]
