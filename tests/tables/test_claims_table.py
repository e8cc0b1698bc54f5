"""The whole ledger on studies made for it: as the essay says, the other way round, all forgotten, and too small."""

import itertools
from fractions import Fraction

import pandas as pd
import pytest

from atlas.charts import findings
from atlas.tables import claims, columns, ledger, level, verdicts
from atlas.tables.knockouts import Knockouts
from atlas.tables.runs import Runs
from tests.made_located import planted, rows_of
from tests.tables.made_claims import AS_PUBLISHED, LOST_BY_FFN, study

BOOK = ledger.read()
COMPARED = ("order", "same", "spread")
FEW = ("qv", "ffn")


def judged(runs: Runs, located: Knockouts | None = None) -> pd.DataFrame:
    frame: pd.DataFrame = claims.table(runs, located).to_pandas()
    return frame


@pytest.fixture(scope="module")
def as_published() -> pd.DataFrame:
    runs = study(AS_PUBLISHED, {("ffn", 100): LOST_BY_FFN})
    both = runs.first("qv_ffn")
    located = Knockouts(rows_of(both, planted((1, 1, "v"))), Runs((), (both,)))
    return judged(runs, located)


@pytest.fixture(scope="module")
def turned() -> pd.DataFrame:
    """Whatever the essay says is lost is kept, and what it says is kept is lost."""
    few = {cell: min(1 - share, Fraction(4, 5)) for cell, share in AS_PUBLISHED.items()}
    return judged(study(few))


def of(frame: pd.DataFrame, name: str, metric: str = "recall") -> pd.Series:
    rows = frame[(frame["claim_id"] == name) & (frame["metric"] == metric)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_there_is_a_row_for_every_claim_and_metric(as_published):
    facts = [claim.id for claim in BOOK.all_claims if claim.rule not in ("exact", "not testable")]
    for metric in ("recall", "association", "recognition"):
        assert as_published.loc[as_published["metric"] == metric, "claim_id"].tolist() == facts
    assert set(as_published["claim_id"]) == {claim.id for claim in BOOK.all_claims}
    assert not as_published.duplicated(["claim_id", "metric"]).any()


def test_a_study_that_is_as_the_essay_says_reproduces_it(as_published):
    compared = as_published[as_published["kind"].isin((*COMPARED, "exact"))]
    assert set(compared["verdict"]) == {"reproduced"}
    located = as_published[(as_published["topic"] == "location") & (as_published["metric"] != "recognition")]
    assert set(located["verdict"]) == {"reproduced"}
    values = as_published[as_published["kind"] == "value"]
    assert (values["measured"] - values["essay_value"]).abs().max() < 1e-9
    vague = values["essay_ci_high"] - values["essay_ci_low"] > 2 * values["margin"]
    assert (values.loc[vague, "verdict"] == "not testable").all()
    assert values.loc[vague, "note"].str.contains("too vague: the essay.s own interval is .*%").all()
    assert (values.loc[~vague, "verdict"] == "reproduced").all()  # what can be told is told
    assert (values["metric"].value_counts() == 29).all()
    assert vague.sum() == 3 * 18


def test_a_verdict_stands_beside_those_at_half_and_twice_its_margin(as_published):
    row = of(as_published, "retention_ffn_100")
    assert row["rule"] == "within 2.7 points of 94.7%"
    assert row["margin"] == pytest.approx(8 / 300)
    verdicts_of = [row[name] for name in ("verdict_half", "verdict", "verdict_twice")]
    assert verdicts_of == ["not testable", "reproduced", "reproduced"]  # at half of it the essay's figure is too vague
    row = of(as_published, "params_qv", "params")
    assert (row["rule"], row["verdict"], row["verdict_half"]) == ("less than 1,000 from 65,000", "reproduced", "")
    row = of(as_published, "schedule_keeps_100")
    assert row["rule"] == "short by at most 2.7% of what qv retains"
    row = of(as_published, "attention_ahead_100")
    assert (row["rule"], row["verdict_half"], row["verdict_twice"]) == ("above 0, p < 0.05", "", "")
    assert pd.isna(row["margin"])


def test_no_two_verdicts_contradict_each_other(as_published, turned):
    """A wider margin reproduces no less and contradicts no more."""
    for frame in (as_published, turned):
        for row in frame[frame["margin"].notna()].to_dict("records"):
            steps = [row[name] for name in ("verdict_half", "verdict", "verdict_twice")]
            for narrow, wide in itertools.pairwise(steps):
                assert narrow != "reproduced" or wide == "reproduced"
                assert wide != "contradicted" or narrow in ("contradicted", "not testable")


def test_not_testable_is_in_no_count(as_published):
    rows = as_published[as_published["metric"] == "recall"]
    tested = (rows["verdict"] != verdicts.NOT_TESTABLE).sum()
    assert findings.counts(rows) == f"{tested} of {tested} claims reproduced, 0 contradicted, 0 unresolved"
    assert tested == len(rows) - 18


def test_the_other_way_round_it_is_contradicted(turned):
    never_less = turned["claim_id"].isin(["rome_edits", "memit_edits"])  # than nothing
    orders = turned[(turned["kind"] == "order") & (turned["topic"] != "domains") & ~never_less]
    assert set(orders["verdict"]) == {"contradicted"}
    assert (orders["ci_high"] < 0).all()
    tested = turned["verdict"] != "not testable"
    cells = turned[(turned["kind"] == "value") & (turned["topic"] == "retention") & tested]
    assert set(cells["verdict"]) == {"contradicted"}


def test_where_all_is_forgotten_nothing_is_called_the_same():
    frame = judged(study({}, arms=("qv", "ffn", "qv_mid", "qv_edge")))
    assert of(frame, "schedule_keeps_100")["verdict"] == "unresolved"
    assert "qv retains 0.0%" in of(frame, "schedule_keeps_100")["note"]
    assert of(frame, "even_under_qv")["verdict"] == "unresolved"
    assert of(frame, "attention_ahead_100")["verdict"] == "unresolved"
    assert of(frame, "retention_qv_100")["verdict"] == "contradicted"


def test_recognition_stands_beside_facts_never_taught(as_published):
    row = of(as_published, "retention_qv_30", "recognition")
    assert row["placebo"] == 1
    assert "facts never taught: 100.0%" in row["note"]
    assert "facts never taught: qv 100.0%, ffn 100.0%" in of(as_published, "attention_ahead_30", "recognition")["note"]
    assert as_published.loc[as_published["metric"] != "recognition", "placebo"].isna().all()


def test_p_is_corrected_for_a_topic_under_a_metric(as_published):
    for _, family in as_published[as_published["p_value"].notna()].groupby(["topic", "metric"]):
        assert (family["p_adjusted"] >= family["p_value"]).all()
    placement = as_published[(as_published["topic"] == "placement") & (as_published["metric"] == "recall")]
    assert placement["p_value"].tolist() == pytest.approx([2 / 2**8] * 5)
    assert placement["p_adjusted"].tolist() == [level.attainable(8)] * 5  # all seeds agree on all five


def test_four_seeds_cannot_settle_an_order_and_say_why():
    frame = judged(study(AS_PUBLISHED, arms=FEW, seeds=(1, 2, 3, 4)))
    row = of(frame, "attention_ahead_100")
    assert row["ci_low"] > 0
    assert row["verdict"] == "unresolved"
    assert "too few seeds" in row["note"]
    assert of(frame, "retention_qv_100")["verdict"] == "reproduced"


def test_one_seed_settles_nothing_but_parameters():
    frame = judged(study(AS_PUBLISHED, arms=FEW, seeds=(3,)))
    assert set(frame.loc[frame["n_seeds"] == 1, "verdict"]) == {"unresolved", "not testable"}
    assert of(frame, "retention_qv_100")["verdict"] == "unresolved"
    assert of(frame, "params_qv", "params")["verdict"] == "reproduced"


def test_what_the_study_lacks_is_not_testable_and_the_essays_figure_stays():
    frame = judged(study(AS_PUBLISHED, arms=FEW, seeds=(1, 2), checkpoints=(30,)))
    lacking = of(frame, "both_worse_30")
    assert (lacking["verdict"], lacking["note"]) == ("not testable", "the study has no arm 'qv_ffn'")
    assert lacking["essay_value"] == pytest.approx(1 / 90)
    assert "editing" not in set(frame["topic"])  # of editors a study without them is asked nothing
    assert pd.isna(lacking["measured"])
    assert "does not probe 'qv' after 100 sessions" in of(frame, "retention_qv_100")["note"]
    assert of(frame, "recipe_over_placement")["verdict"] == "not testable"
    assert of(frame, "share_qv_ffn", "params")["note"] == "the study has no arm 'qv_ffn'"
    assert of(frame, "params_qv", "params")["verdict"] == "reproduced"


def test_parameters_are_judged_beside_the_base_that_they_were_published_for():
    runs = study(AS_PUBLISHED, arms=FEW, seeds=(1, 2), checkpoints=(30,))
    small = Runs((), tuple(record.model_copy(update={"base_params": 41_472}) for record in runs.records))
    small.__dict__["facts"] = runs.facts
    row = of(judged(small), "params_qv", "params")
    assert (row["verdict"], row["note"]) == ("not testable", "the base of the study has 41,472 parameters, not 838,656")


def test_a_claim_that_none_can_test_says_why(as_published):
    row = of(as_published, "attention_routes", "none")
    assert (row["verdict"], row["unit"]) == ("not testable", "none")
    assert row["note"]


def test_the_table_has_its_columns():
    table = claims.table(study(AS_PUBLISHED, arms=FEW, seeds=(1, 2), checkpoints=(30,)))
    assert table.schema == columns.CLAIMS
