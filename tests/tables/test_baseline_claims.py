"""Claims on editors and fine-tuning: of a study that has them, and of no other."""

from fractions import Fraction
from pathlib import Path

import pytest

from atlas.study import config
from atlas.tables import baseline_claims, claims, ledger
from tests.synthetic import SyntheticArm
from tests.tables.made_claims import ARMS, study

REPOSITORY = Path(__file__).parents[2]
BOOK = ledger.read(ledger.BASELINES)
MORE = {
    "r_rome": SyntheticArm(("down",), method="r_rome"),
    "ffn_matched_recall": SyntheticArm(("up", "down"), (13,) * 4, recipe={"preset": "recall"}),
}


@pytest.fixture
def arms(monkeypatch):
    monkeypatch.setattr("tests.tables.made_claims.ARMS", ARMS | MORE)
    return ["qv", "untrained", "ffn_matched_recall", "rome", "r_rome", "memit"]


def test_every_claim_is_about_a_comparison_that_the_study_of_the_baselines_plans():
    baselines = config.load(REPOSITORY / "config.yaml", REPOSITORY / "studies" / "baselines.yaml")
    planned = {frozenset(pair) for pairs in baselines.contrasts.values() for pair in pairs}
    for claim in BOOK.all_claims:
        assert isinstance(claim, ledger.Order)
        ((plus,), (minus,)) = claim.plus, claim.minus
        assert frozenset((plus.arm, minus.arm)) in planned, claim.id
        assert plus.sessions == minus.sessions
        assert plus.sessions in baselines.checkpoints
        assert claim.topic in ledger.OF_BASELINES
        assert claim.remark, claim.id  # who claims it
    assert not {claim.id for claim in BOOK.all_claims} & {claim.id for claim in ledger.read().all_claims}


def test_they_are_judged_once_on_the_arms_that_they_name(arms):
    kept = {("ffn_matched_recall", 100, "taught"): Fraction(1), ("rome", 30, "taught"): Fraction(1, 3)}
    frame = baseline_claims.table(study(kept, arms=arms)).to_pandas()
    verdicts = frame[frame["metric"] == "recall"].set_index("claim_id")["verdict"].to_dict()
    assert verdicts == {
        "adapters_over_rome": "reproduced",
        "adapters_over_r_rome": "reproduced",
        "adapters_over_memit": "reproduced",
        "r_rome_over_rome": "contradicted",
        "memit_over_rome": "contradicted",
    }
    assert set(frame["preset"]) == {claims.ANY}
    assert frame.loc[frame["claim_id"] == "adapters_over_rome", "arms"].unique().tolist() == ["ffn_matched_recall,rome"]
    assert "2403.07175" in frame.loc[frame["claim_id"] == "r_rome_over_rome", "note"].iloc[0]


def test_a_study_without_them_is_asked_nothing_of_them(arms):
    plain = study({}, arms=["qv", "ffn", "untrained"], seeds=(1, 2))
    assert baseline_claims.table(plain).num_rows == 0
    assert "editing" not in set(claims.table(plain).to_pandas()["topic"])
    edited = claims.table(study({}, arms=arms, seeds=(1, 2))).to_pandas()
    assert "rome_edits" in set(edited["claim_id"])
