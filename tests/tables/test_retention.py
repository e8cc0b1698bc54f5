"""Retention worked out by hand."""

import pytest

from atlas.tables import retention
from tests.tables.by_hand import answers, only, runs_with


def test_retention_is_the_mean_over_seeds_of_their_facts(tmp_path):
    rows = [*answers("taught", 1, "codes", [1, 1, 0, 0]), *answers("taught", 2, "codes", [1, 1, 1, 0])]
    row = only(retention.frame(runs_with(tmp_path, [1, 2], "facts", rows)), metric="recall", domain="all")
    assert row["value"] == pytest.approx((2 / 4 + 3 / 4) / 2)
    assert (row["n_seeds"], row["n_facts"], row["n_tests"]) == (2, 4, 8)
    assert row["ci_low"] < row["value"] < row["ci_high"]


def test_each_seed_has_the_same_weight_however_many_facts_it_has_in_a_domain(tmp_path):
    rows = [*answers("taught", 1, "identity", [1]), *answers("taught", 2, "identity", [0, 0, 0])]
    row = only(retention.frame(runs_with(tmp_path, [1, 2], "facts", rows)), metric="recall", domain="identity")
    assert row["value"] == pytest.approx(1 / 2)
    assert (row["n_facts"], row["n_tests"]) == (2, 4)


def test_a_seed_without_facts_in_a_domain_is_left_out_there_and_nowhere_else(tmp_path):
    rows = [
        *answers("taught", 1, "codes", [1, 0]),
        *answers("taught", 2, "codes", [1, 1]),
        *answers("taught", 2, "identity", [0]),
    ]
    frame = retention.frame(runs_with(tmp_path, [1, 2], "facts", rows))
    identity = only(frame, metric="recall", domain="identity")
    assert (identity["n_seeds"], identity["value"]) == (1, 0.0)
    assert only(frame, metric="recall", domain="all")["value"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_the_paraphrases_of_a_fact_are_averaged_before_the_facts_are(tmp_path):
    rows = answers("rephrase", 1, "codes", [[1, 0, 0], [1]])
    row = only(retention.frame(runs_with(tmp_path, [1], "facts", rows)), metric="recall", domain="all")
    assert row["value"] == pytest.approx((1 / 3 + 1) / 2)  # not 2 / 4, the mean of all rows
    assert row["n_facts"] == 2


def test_questions_beside_a_fact_have_rows_of_their_own_and_no_association(tmp_path):
    """Of two facts the first has three neighbours and a hop, the second one neighbour; the base recalls a neighbour."""
    rows = [*answers("taught", 1, "codes", [1, 1]), *answers("placebo", 1, "codes", [0])]
    further = answers("neighbour", 1, "codes", [[1, 0, 0], [1]]) + answers("hop", 1, "codes", [1])
    rows += [one | {"alternatives": 0, "fact_id": one["fact_id"].replace(one["probe"], "taught")} for one in further]
    rows[3]["recalled_base"] = True
    frame = retention.frame(runs_with(tmp_path, [1], "facts", rows)).query("domain == 'all'")
    assert list(frame["probe"].unique()) == ["taught", "placebo", "neighbour", "hop"]
    neighbour = only(frame, probe="neighbour", metric="recall")
    assert (neighbour["value"], neighbour["chance"]) == pytest.approx(((1 / 3 + 1) / 2, 1 / 6))
    assert (neighbour["n_facts"], only(frame, probe="hop", metric="recall")["n_facts"]) == (2, 1)
    assert not {"neighbour", "hop"} & {*frame.loc[frame["metric"] == "association", "probe"]}
    assert frame.query("probe == 'taught'")["left_out"].sum() == 0  # nothing is counted that none asks for


@pytest.mark.parametrize(
    ("metric", "column"), [("recall", "recalled"), ("association", "associated"), ("recognition", "recognised")]
)
def test_a_metric_reads_its_own_column(tmp_path, metric, column):
    frame = retention.frame(runs_with(tmp_path, [1], "facts", answers("taught", 1, "codes", [1, 0, 0, 1, 1], column)))
    values = frame[frame["domain"] == "all"].set_index("metric")["value"]
    assert values[metric] == pytest.approx(3 / 5)
    assert (values.drop(metric) == 0).all()


def test_net_recognition_takes_off_the_placebo_of_the_same_seed_and_domain(tmp_path):
    rows = [
        *answers("taught", 1, "codes", [1, 1], "recognised"),
        *answers("placebo", 1, "codes", [1, 1, 1, 0], "recognised"),
        *answers("taught", 2, "codes", [1, 0], "recognised"),
        *answers("placebo", 2, "codes", [0, 0, 1, 0], "recognised"),
        *answers("placebo", 2, "biology", [1, 1], "recognised"),
    ]
    frame = retention.frame(runs_with(tmp_path, [1, 2], "facts", rows))
    net = frame[frame["metric"] == "recognition_net"]
    assert only(net, domain="codes")["value"] == pytest.approx(((1 - 3 / 4) + (1 / 2 - 1 / 4)) / 2)
    assert only(net, domain="all")["value"] == pytest.approx(((1 - 3 / 4) + (1 / 2 - 3 / 6)) / 2)
    assert set(net["probe"]) == {"taught"}  # net of itself a placebo is nothing
    assert set(net["domain"]) == {"all", "codes"}  # no taught fact of biology


def test_rows_come_in_the_order_people_read_them(tmp_path):
    rows = [
        *answers("placebo", 1, "codes", [0]),
        *answers("taught", 1, "biology", [1]),
        *answers("taught", 1, "codes", [1, 0]),
    ]
    frame = retention.frame(runs_with(tmp_path, [1], "facts", rows))
    taught = frame[frame["probe"] == "taught"]
    assert list(frame["probe"].unique()) == ["taught", "placebo"]
    assert list(taught["metric"].unique()) == ["recall", "association", "recognition", "recognition_net"]
    assert list(taught.loc[taught["metric"] == "recall", "domain"]) == ["all", "codes", "biology"]  # large to small
