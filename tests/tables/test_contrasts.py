"""Contrasts worked out by hand, from runs to verdicts, and how often the whole procedure errs."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.tables import contrasts
from atlas.tables.columns import CONTRASTS
from atlas.tables.contrasts import Cell, Contrasts, Paired
from atlas.tables.inference import sign_flip, step_down, verdict
from atlas.tables.intervals import Sample, estimate
from atlas.tables.level import LEVEL, attainable
from atlas.tables.runs import Runs, read
from atlas.ttt.run_files import FACTS
from atlas.workflow import files
from tests.synthetic import (
    Design,
    SyntheticArm,
    write_frame,
    write_study,
)
from tests.tables.by_hand import only
from tests.tables.test_table_steps import run_step

SIX = Design(seeds=(1, 2, 3, 4, 5, 6), checkpoints=(2, 4))
ARMS = {
    "good": SyntheticArm(recall=0.9, recognition=1, placebo_recognition=0.5),
    "poor": SyntheticArm(("up", "down"), recall=0.1, recognition=1, placebo_recognition=0.5),
    "same": SyntheticArm(("k",), recall=0.1, recognition=1, placebo_recognition=0.5),
}
PLAN = Contrasts(contrasts={"one": [("good", "poor"), ("same", "poor")], "other": [("poor", "good")]})


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    return write_study(tmp_path_factory.mktemp("runs"), ARMS, SIX)


@pytest.fixture(scope="module")
def runs(folders) -> Runs:
    return read(folders)


@pytest.fixture(scope="module")
def frame(runs) -> pd.DataFrame:
    table: pd.DataFrame = contrasts.table(runs, PLAN).to_pandas()
    return table


def test_a_contrast_is_the_mean_over_seeds_of_paired_differences(runs, frame):
    facts = runs.facts.query("sessions == 4 and probe == 'taught'")
    by_seed = facts.groupby(["arm", "seed"], observed=True)["recalled"].mean().unstack("arm")
    row = only(frame, family="one", arm_a="good", sessions=4, probe="taught", metric="recall", domain="all")
    assert row["diff"] == pytest.approx((by_seed["good"] - by_seed["poor"]).mean())
    assert (row["value_a"], row["value_b"]) == pytest.approx((by_seed["good"].mean(), by_seed["poor"].mean()))
    assert (row["n_seeds"], row["n_facts"], row["n_tests"]) == (6, 12, 72)
    hits = facts.groupby(["arm", "seed"], observed=True)["recalled"].sum().unstack("arm")
    assert row["p_value"] == sign_flip({seed: Fraction(d) for seed, d in (hits["good"] - hits["poor"]).items()})


def test_the_difference_of_a_fact_is_between_the_same_fact_of_both_arms(tmp_path):
    """Both arms recall half of the facts; they agree on all of them in one study and on none in the other."""
    widths = {}
    for name, flip in (("agree", False), ("differ", True)):
        folders = write_study(tmp_path / name, {key: ARMS[key] for key in ("good", "poor")}, SIX)
        for folder, other in zip(folders, (False, flip), strict=True):
            rows = files.read_parquet(folder / "facts.parquet").to_pandas()
            rows["recalled"] = (rows.groupby(["seed", "sessions", "probe", "form"]).cumcount() % 2 == 0) ^ other
            write_frame(folder / "facts.parquet", rows, FACTS)
        diff = Paired.of(read(folders)).compare("good", "poor")[Cell(4, "taught", "recall")].diff
        assert diff.value == 0
        widths[name] = diff.ci_high - diff.ci_low
    assert widths["agree"] < widths["differ"] / 3


def test_the_verdicts(frame):
    recall = frame.query("sessions == 4 and probe == 'taught' and metric == 'recall' and domain == 'all'")
    verdicts = {(row["family"], row["arm_a"]): row["verdict"] for row in recall.to_dict("records")}
    assert verdicts[("other", "poor")] == "b > a"
    assert verdicts[("one", "same")] == "unresolved"
    good = only(recall, family="one", arm_a="good")
    assert good["verdict"] == "a > b"  # beside another contrast, six seeds still reach p = 2 / 64
    assert good["p_adjusted"] == good["p_attainable"] == 2 / 64
    assert good["mde"] > only(recall, family="other")["mde"] > 0


def test_p_is_corrected_for_the_pairs_of_a_family_in_one_cell(runs, frame):
    place = Cell(4, "taught", "recall", "codes")
    cell = frame.query("sessions == 4 and probe == 'taught' and metric == 'recall' and domain == 'codes'")
    family = cell[cell["family"] == "one"]
    paired = Paired.of(runs)
    exact = [paired.compare(*pair)[place].diff.exact for pair in PLAN.contrasts["one"]]
    assert family["p_adjusted"].tolist() == step_down(exact)
    alone = only(cell, family="other")
    assert alone["p_adjusted"] == alone["p_value"]


def test_differences_of_thirds_are_exact():
    """Three seeds are ahead by 1/9 and five are equal, by facts that score in thirds: 2/3 - 1/3 and 1/3 - 0 differ in
    their last digit as floats, and the sums of what is equal do, too."""
    ahead = {1: ((2, 1, 0), (1, 1, 0)), 2: ((1, 3, 3), (0, 3, 3)), 3: ((3, 0, 2), (2, 0, 2))}
    scores = [
        {"arm": arm, "seed": seed, "fact_id": str(fact), "recall": thirds / 3}
        for seed in range(1, 9)
        for arm, facts in zip(("a", "b"), ahead.get(seed, ((1, 2, 0), (2, 0, 1))), strict=True)
        for fact, thirds in enumerate(facts)
    ]
    frame = pd.DataFrame(scores).assign(sessions=1, probe="rephrase", domain="all")
    comparison = Paired(["a", "b"], frame, ["recall"]).compare("a", "b")[Cell(1, "rephrase", "recall")]
    assert list(comparison.diff.exact.values()) == [Fraction(1, 9)] * 3 + [0] * 5
    assert comparison.p_value == 0.25


def test_a_contrast_the_other_way_round_is_its_mirror_image(frame):
    key = ["sessions", "probe", "metric", "domain"]
    one = frame.query("family == 'one' and arm_a == 'good'").set_index(key)
    other = frame.query("family == 'other'").set_index(key)
    pd.testing.assert_series_equal(one["diff"], -other["diff"])
    pd.testing.assert_series_equal(one["ci_low"], -other["ci_high"], check_names=False)
    pd.testing.assert_series_equal(one["p_value"], other["p_value"])


def test_recognition_net_takes_off_the_placebo_of_each_arm(frame):
    rows = frame.query("family == 'one' and arm_a == 'same' and sessions == 4 and domain == 'all'")
    taught = only(rows, probe="taught", metric="recognition")
    placebo = only(rows, probe="placebo", metric="recognition")
    net = only(rows, probe="taught", metric="recognition_net")
    assert net["diff"] == pytest.approx(taught["diff"] - placebo["diff"])
    assert net["value_a"] - net["value_b"] == pytest.approx(net["diff"])
    assert rows[rows["metric"] == "recognition_net"]["probe"].unique().tolist() == ["taught", "rephrase"]


def test_rows_come_in_the_order_of_the_study(frame):
    assert list(dict.fromkeys(zip(frame["family"], frame["arm_a"], strict=True))) == [
        ("one", "good"),
        ("one", "same"),
        ("other", "poor"),
    ]
    first = frame.iloc[0]
    assert (first["sessions"], first["probe"], first["metric"], first["domain"]) == (2, "taught", "recall", "all")


def test_an_ablation_is_compared_where_it_was_probed(tmp_path):
    both = {"qv": ARMS["good"], "qv_no_rehearsal": SyntheticArm(recipe={"phases": {"slow": {"rehearsal": None}}})}
    folders = write_study(tmp_path, both, Design((1, 2), (2, 4)))
    path = folders[1] / "facts.parquet"
    write_frame(path, files.read_parquet(path).to_pandas().query("sessions == 2"), FACTS)
    table = contrasts.table(read(folders), Contrasts(contrasts={"recipe": [("qv", "qv_no_rehearsal")]}))
    assert set(table["sessions"].to_pylist()) == {2}


def test_one_seed_decides_nothing(tmp_path):
    folders = write_study(tmp_path, {key: ARMS[key] for key in ("good", "poor")}, Design((1,), (2,)))
    rows = contrasts.table(read(folders), Contrasts(contrasts={"one": [("good", "poor")]})).to_pandas()
    assert (rows["verdict"] == "unresolved").all()
    assert (rows["p_value"] == 1).all()


def test_an_arm_without_runs_is_named(runs):
    with pytest.raises(AtlasError, match=r"contrast good - nobody: no run of 'nobody' among good, poor, same"):
        contrasts.table(runs, Contrasts(contrasts={"one": [("good", "nobody")]}))


def test_no_contrasts_are_an_empty_table(runs):
    assert contrasts.table(runs, Contrasts(contrasts={})).schema == CONTRASTS


def test_the_step_writes_the_same_bytes_each_time(folders, tmp_path):
    first, second = (run_step("contrasts", folders, tmp_path / again / "contrasts.parquet") for again in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert files.read_parquet(first, CONTRASTS).num_rows


# How often the whole procedure errs: estimate, sign-flip test, correction, verdict.
STUDIES = 400
MOST = stats.binom.ppf(0.999, STUDIES, LEVEL) / STUDIES  # what an error rate of 5% exceeds once in a thousand runs


def decided(draws: np.random.Generator, seeds: int, centres: list[float], apart: float) -> list[bool]:
    """Whether each of several arms is found to differ from a first one; seeds differ, facts are binomial."""
    shares = special.expit(
        special.logit(np.array(centres))[:, None] + apart * draws.standard_normal((len(centres), seeds))
    )
    right = draws.random((len(centres), seeds, 90)) < shares[:, :, None]
    levels = np.array([-1.0, 0.0, 1.0])
    found = []
    for arm in right[1:]:
        tallies = np.stack([((arm.astype(int) - right[0]) == level).sum(axis=1) for level in (-1, 0, 1)], axis=1)
        found.append(estimate(Sample(tallies, levels, signed=True)))
    adjusted = step_down([result.exact for result in found if result])
    return [
        verdict(result.value, result.ci_low, result.ci_high, p, attainable(seeds))[0] != "unresolved"
        for result, p in zip(found, adjusted, strict=True)
        if result
    ]


@pytest.mark.parametrize(("seeds", "centre", "apart"), [(8, 0.02, 0.3), (8, 0.5, 0.0), (8, 0.98, 0.3), (6, 0.5, 0.3)])
def test_arms_that_do_not_differ_are_told_apart_in_at_most_5_of_100_studies(seeds, centre, apart):
    draws = rng("false positives", seeds, str(centre), str(apart))
    errors = sum(any(decided(draws, seeds, [centre, centre], apart)) for _ in range(STUDIES))
    assert errors / STUDIES <= MOST


def test_a_family_of_six_errs_as_a_whole_in_at_most_5_of_100_studies():
    draws = rng("family")
    errors = sum(any(decided(draws, 8, [0.3] * 7, 0.3)) for _ in range(STUDIES))
    assert errors / STUDIES <= MOST


def test_arms_that_differ_clearly_are_told_apart():
    draws = rng("true positives")
    assert sum(all(decided(draws, 8, [0.3, 0.6], 0.3)) for _ in range(100)) >= 95


def test_four_seeds_never_decide():
    draws = rng("four seeds")
    assert not any(any(decided(draws, 4, [0.02, 0.98], 0.0)) for _ in range(20))
