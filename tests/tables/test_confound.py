"""The confound's table: pairs found by what they differ in, differences by hand, the very base that was refused."""

from dataclasses import replace

import pytest

from atlas.audit.misload_report import Misload, MisloadReport
from atlas.errors import AtlasError
from atlas.guard.report import Certificate, Check
from atlas.tables import confound
from atlas.tables.runs import read
from atlas.tables.scores import fact_scores
from atlas.workflow import files
from tests.charts.made_tables import refused
from tests.synthetic import Design, SyntheticArm, write_study

ARMS = {
    "qv": SyntheticArm(),
    "ffn": SyntheticArm(("up", "down")),
    "other_recipe": SyntheticArm(("up", "down"), recipe={"clip": 0.9}),
    "ffn_broken": SyntheticArm(("up", "down"), recall=0.1, reinit=("up", "down")),
    "alone": SyntheticArm(("o",), reinit=("up", "down")),
}
DESIGN = Design(seeds=(3, 5, 8), checkpoints=(2, 4), replicas=2)


def check(name: str, passed: bool) -> Check:
    return Check(name=name, passed=passed, measured=0.0, limit=1.0, detail=name)


def misload(seeds: tuple[int, ...] = (3, 5), replica: int = 1) -> Misload:
    """A mis-loaded base that two checks refuse, and with a manifest a third, as drawn for some seeds."""
    refusal = refused(seeds, replica)
    checks = [check("names", True), check("spectrum", False), check("constants", False), check("sha256", False)]
    without, given = (
        Certificate(passed=False, fingerprint=refusal.fingerprint, checks=some) for some in (checks[:3], checks)
    )
    return refusal.model_copy(update={"without_manifest": without, "with_manifest": given})


@pytest.fixture
def runs(tmp_path):
    return read(write_study(tmp_path, ARMS, DESIGN, blocks=[[3, 5], [8]]))


@pytest.fixture
def rows(runs):
    return confound.table(runs, [misload((4,)), misload()], "misloaded.json").to_pandas()


def test_a_pair_differs_in_its_base_alone(runs):
    assert confound.pairs(runs) == [("ffn", "ffn_broken")]


def test_differences_are_paired_by_seed(runs, rows):
    recall = fact_scores(runs.facts).query("sessions == 4 and probe == 'taught'")
    means = recall.groupby(["arm", "seed"], observed=True)["recall"].mean()
    cell = rows.query("sessions == 4 and probe == 'taught' and metric == 'recall'")
    by_seed = cell.dropna(subset="seed").set_index("seed")["diff"]
    assert by_seed.to_dict() == pytest.approx((means["ffn_broken"] - means["ffn"]).to_dict())
    (over_all,) = cell[cell["seed"].isna()].to_dict("records")
    assert over_all["value"] == pytest.approx(means["ffn"].mean())
    assert over_all["value_reinit"] == pytest.approx(means["ffn_broken"].mean())
    assert over_all["diff"] == pytest.approx(by_seed.mean())
    assert over_all["ci_low"] < over_all["diff"] < over_all["ci_high"]
    assert over_all["p_value"] in (0.25, 0.5, 0.75, 1.0)  # of 2^3 sign patterns, both ends


def test_every_reading_has_a_row_over_all_seeds_and_one_a_seed(rows):
    keys = ["sessions", "probe", "metric"]
    assert set(rows.groupby(keys)["diff"].size()) == {1 + len(DESIGN.seeds)}
    assert {("taught", "recognition_net"), ("placebo", "recognition")} <= set(rows.groupby(["probe", "metric"]).groups)
    assert set(rows["n_seeds"]) == {3}


def test_what_refuses_the_base_stands_in_every_row(rows):
    assert set(rows["refused_by"]) == {"spectrum,constants"}
    assert set(rows["refused_by_manifest"]) == {"spectrum,constants,sha256"}
    assert set(rows["refused_seeds"]) == {"3,5"}


def test_a_row_says_on_how_many_bases_and_draws_it_rests(rows, tmp_path):
    assert set(zip(rows["bases"], rows["draws"], strict=True)) == {(2, 2)}
    one = read(write_study(tmp_path / "one", ARMS, replace(DESIGN, replicas=1), blocks=[[3], [5], [8]]))
    rows = confound.table(one, [misload((8,))], "misloaded.json").to_pandas()
    assert set(zip(rows["bases"], rows["draws"], strict=True)) == {(1, 3)}


def test_a_verdict_on_other_weights_is_not_taken(runs):
    with pytest.raises(
        AtlasError, match=r"misloaded\.json: no mis-loaded base is one that arm 'ffn_broken' trained on: ee"
    ):
        confound.table(runs, [misload(replica=2), misload((3,))], "misloaded.json")


def test_a_study_without_such_arms_gives_an_empty_table(tmp_path):
    runs = read(write_study(tmp_path, {"qv": ARMS["qv"]}, replace(DESIGN, seeds=(1,))))
    assert confound.table(runs, [], "misloaded.json").num_rows == 0


def test_the_report_of_the_guard_is_checked_when_it_is_read(tmp_path):
    path = tmp_path / "misloaded.json"
    files.write_json(path, MisloadReport(misloads=[misload()]).model_dump())
    assert confound.read_misloads(path) == [misload()]
    files.write_json(path, {"misloads": [{"reinit": ["up"]}]})
    with pytest.raises(AtlasError, match=r"misloaded\.json: misloads\.0\.seeds: Field required"):
        confound.read_misloads(path)
