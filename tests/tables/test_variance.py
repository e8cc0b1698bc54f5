"""The table of variance: which arms make a factorial, and what is said of them."""

from dataclasses import replace

import numpy as np
import pytest

from atlas.metrics import OF_FACTS, contract
from atlas.study.settings import Role
from atlas.tables import factorial, variance
from atlas.tables.runs import read
from atlas.tables.variance import decompose
from tests.synthetic import Design, SyntheticArm, write_study

QV: tuple[Role, ...] = ("q", "v")
FFN: tuple[Role, ...] = ("up", "down")
OWN = {"preset": "own", "phases": {"all": {"steps": 2}}}
SEEDS = Design(seeds=(1, 2, 3, 4), checkpoints=(4,))
SIZED = {"qv": (QV, 32), "qv_large": (QV, 80), "ffn_matched": (FFN, 13), "ffn": (FFN, 32)}


def arms(own_bonus=0.5, **changes):
    """Two recipes, two placements, two sizes; the recipe `own` recalls more, all else is alike."""
    made = {name: SyntheticArm(roles, ranks=(rank,) * 4, recall=0.2) for name, (roles, rank) in SIZED.items()}
    made |= {
        f"{name}_own": SyntheticArm(arm.targets, ranks=arm.ranks, recall=0.2 + own_bonus, recipe=OWN)
        for name, arm in made.items()
    }
    return made | changes


def table(tmp_path, made, design=SEEDS):
    return variance.table(read(write_study(tmp_path, made, design))).to_pandas()


def test_what_differs_explains_the_variance(tmp_path):
    more = {"other": SyntheticArm(("k",)), "untrained": SyntheticArm(recipe={"phases": {"fast": None, "slow": None}})}
    found = table(tmp_path, arms(**more))
    recall = found.query("metric == 'recall' and probe == 'taught'").set_index("source")
    assert recall.loc["recipe", "share"] > 0.7
    assert recall.loc["recipe", "ci_low"] > 0.4
    assert abs(recall.loc["place", "share"]) < 0.1
    assert recall["share"].sum() == pytest.approx(1)
    assert set(recall.index) == {
        *("recipe", "place", "size", "recipe x place", "recipe x size", "place x size", "recipe x place x size"),
        *("seed", "error"),
    }
    assert recall["levels"].iloc[0] == (
        "recipe: essay, own; place: down+up, q+v; size: 164 thousand parameters, 66 thousand parameters"
    )
    assert set(found["contract"]) == {contract(metric) for metric in OF_FACTS}
    assert set(found["probe"]) == {"taught", "rephrase", "placebo"}


def test_the_shares_are_those_of_the_grid_of_means(tmp_path):
    made = arms()
    runs = read(write_study(tmp_path, made, SEEDS))
    facts = runs.facts.query("probe == 'taught'")
    by_arm = facts.groupby(["arm", "seed"], observed=True)["recalled"].mean().unstack("seed")
    names = [f"{a}{b}" for b in ("", "_own") for a in ("ffn", "ffn_matched", "qv_large", "qv")]
    grid = by_arm.loc[names].to_numpy(float).reshape(2, 2, 2, 4)
    expected = decompose(grid, list(factorial.FACTORS))
    found = variance.table(runs).to_pandas().query("metric == 'recall' and probe == 'taught'")
    np.testing.assert_allclose(found["share"], [part.share for part in expected], atol=1e-9)
    np.testing.assert_allclose(found["ci_low"], [part.ci_low for part in expected], atol=1e-9)


def test_at_one_size_recipe_and_place_are_left(tmp_path):
    made = arms()
    del made["qv_large_own"]  # so that the larger size is not crossed
    recall = table(tmp_path, made).query("metric == 'recall' and probe == 'taught'").set_index("source")
    assert set(recall.index) == {"recipe", "place", "recipe x place", "seed", "error"}
    assert recall["levels"].iloc[0] == "recipe: essay, own; place: down+up, q+v; size: 66 thousand parameters"
    assert recall.loc["recipe", "share"] > 0.7


def test_without_a_factorial_there_is_no_row(tmp_path):
    made = {name: arm for name, arm in arms().items() if name in ("qv", "qv_own", "ffn", "ffn_own")}
    assert table(tmp_path, made).empty  # places differ in size, too


def test_probes_that_a_seed_lacks_have_no_row(tmp_path):
    found = table(tmp_path, arms(), replace(SEEDS, bare=(2,)))
    assert {*found["probe"]} == {"taught", "placebo"}


def test_of_arms_with_the_same_levels_the_first_counts():
    levels = {f"{name}{suffix}": factorial.Levels(suffix, name, 100) for name in "ab" for suffix in ("x", "y")}
    chosen = factorial.design(levels | {"again": factorial.Levels("x", "a", 105)})
    assert chosen is not None
    assert chosen.arms[("x", "a", "0 thousand parameters")] == "ax"
    assert (chosen.factors, chosen.shape) == (["recipe", "place"], (2, 2))


def test_too_few_seeds_give_no_row(tmp_path):
    assert table(tmp_path, arms(), Design(seeds=(1, 2), checkpoints=(4,))).empty


def test_arms_on_another_base_do_not_count(tmp_path):
    made = arms()
    for name in ("qv_own", "qv_large_own"):
        made[name] = SyntheticArm(QV, ranks=made[name].ranks, recipe=OWN, reinit=FFN)
    assert table(tmp_path, made).empty
