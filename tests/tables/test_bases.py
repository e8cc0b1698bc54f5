"""The planned comparisons on each base by itself: figures by hand, and what tables say of how many bases there are."""

import pytest

from atlas.tables import arms, bases, claims, contrasts, retention
from atlas.tables.contrasts import Contrasts
from atlas.tables.ledger import read as read_ledger
from atlas.tables.runs import read
from atlas.tables.scores import fact_scores
from tests.synthetic import Design, SyntheticArm, arms_like_the_study, write_study

DESIGN = Design(seeds=(1, 2, 3, 4, 5), checkpoints=(30,), replicas=2)
ARMS = {name: arms_like_the_study()[name] for name in ("qv", "ffn", "ffn_random_base", "qv_random_base")}
PLAN = Contrasts(contrasts={"one": [("qv", "ffn")], "two": [("ffn", "qv_random_base")]})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Seeds 1, 2 and 5 on the first base, 3 and 4 on the second."""
    return read(write_study(tmp_path_factory.mktemp("runs"), ARMS, DESIGN, blocks=[[1, 2], [3, 4], [5]]))


def test_each_base_has_the_means_of_its_own_seeds(runs):
    table = bases.table(runs, PLAN).to_pandas()
    cell = table.query("family == 'one' and probe == 'taught' and metric == 'recall'").set_index("base_replica")
    assert cell["n_seeds"].to_dict() == {1: 3, 2: 2}
    taught = fact_scores(runs.facts).query("probe == 'taught'")
    means = taught.groupby(["arm", "seed"], observed=True)["recall"].mean()
    for replica, seeds in ((1, [1, 2, 5]), (2, [3, 4])):
        qv, ffn = (means[arm][seeds].mean() for arm in ("qv", "ffn"))
        assert cell.loc[replica, ["value_a", "value_b", "diff"]].tolist() == pytest.approx([qv, ffn, qv - ffn])
        assert cell.loc[replica, "ci_low"] < qv - ffn < cell.loc[replica, "ci_high"]


def test_bases_stand_one_below_the_other_in_the_order_of_the_plan(runs):
    table = bases.table(runs, PLAN).to_pandas()
    assert table["base_replica"].tolist() == [1, 2] * (len(table) // 2)
    assert table["family"].drop_duplicates().tolist() == ["one", "two"]
    assert bases.table(runs, Contrasts(contrasts={})).num_rows == 0


def test_tables_say_on_how_many_bases_their_figures_rest(runs, tmp_path):
    one = read(write_study(tmp_path, ARMS, Design(seeds=(1, 2), checkpoints=(30,))))
    for found, expected in ((runs, 2), (one, 1)):
        for table in (arms.table(found), contrasts.table(found, PLAN)):
            assert set(table["bases"].to_pylist()) == {expected}
        rows = retention.table(found).to_pandas()
        assert set(rows.query("domain == 'all'")["bases"]) == {expected}


def test_a_cell_that_only_seeds_of_one_base_have_says_so(tmp_path):
    design = Design(seeds=(1, 2), checkpoints=(1,), facts_per_session=1, replicas=2)
    found = read(write_study(tmp_path, {"qv": SyntheticArm()}, design, blocks=[[1], [2]]))
    rows = retention.table(found).to_pandas().query("probe == 'taught' and metric == 'recall'")
    assert (rows["bases"] == rows["n_seeds"]).all()
    assert set(rows.query("domain != 'all'")["bases"]) == {1}


def test_verdicts_on_the_confound_say_how_many_bases_and_draws_they_rest_on(runs):
    told = "on 2 bases, 3 draws of the re-initialisation"
    judged = [one for one in claims.judge(read_ledger(), runs) if one.n_seeds]
    on_random = [one for one in judged if any(arm.endswith("random_base") for arm in one.arms)]
    assert on_random
    assert all(told in one.notes for one in on_random)
    assert not any(told in one.notes for one in judged if one not in on_random)
    rows = claims.table(runs).to_pandas()
    assert set(rows.loc[rows["n_seeds"] > 0, "bases"]) == {2}
