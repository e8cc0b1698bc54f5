"""The table of the map, by hand."""

import pandas as pd
import pytest

from atlas.errors import AtlasError
from atlas.study.place_map import MapCell
from atlas.tables import map as place_map
from atlas.tables.columns import MAP
from atlas.tables.runs import read
from tests.synthetic import Design, SyntheticArm, write_study
from tests.tables.by_hand import answers, only, runs_with

DESIGN = Design(seeds=(1, 2, 3), checkpoints=(2, 4), facts_per_session=3)
ARMS = {
    "map_q_0_8k": SyntheticArm(("q",), (31, 0, 0, 0), recall=1.0, forgetting=0, rise=0.1),
    "map_up_all_8k": SyntheticArm(("up",), (3, 3, 3, 3), recall=0.0, rise=0.3),
}
QUERY = MapCell(arm="map_q_0_8k", unit="slot", role="q", layer=0, budget=8000, rank=31, most=32_768)
TOO_MUCH = QUERY.model_copy(update={"arm": "map_q_0_65k", "budget": 65_000, "rank": None})
UP = MapCell(arm="map_up_all_8k", unit="role", role="up", layer=None, budget=8000, rank=3, most=327_680)


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> pd.DataFrame:
    runs = read(write_study(tmp_path_factory.mktemp("runs"), ARMS, DESIGN))
    table = place_map.table(runs, place_map.Places(cells=[QUERY, TOO_MUCH, UP]))
    assert table.schema == MAP
    frame: pd.DataFrame = table.to_pandas()
    return frame


def test_every_place_has_every_measure_at_every_checkpoint_in_the_order_of_the_study(found):
    assert list(dict.fromkeys(found["arm"])) == ["map_q_0_8k", "map_q_0_65k", "map_up_all_8k"]
    for _, part in found.groupby("arm"):
        assert part["sessions"].tolist() == [2] * 4 + [4] * 4
        assert part["metric"].tolist() == ["recall", "recall", "association", "rise"] * 2
        assert part["probe"].fillna("none").tolist() == ["taught", "rephrase", "taught", "none"] * 2


def test_a_place_says_what_it_is_and_what_it_spent(found):
    query = found[found["arm"] == "map_q_0_8k"].iloc[0]
    assert query[["part", "role", "layer"]].tolist() == ["slot", "q", 0]
    assert query[["budget", "most_params", "trainable_params"]].tolist() == [8000, 32_768, 31 * (128 + 128)]
    assert query["lr"] == 0.003  # of the essay's fast phase, which the synthetic arms have
    up = found[found["arm"] == "map_up_all_8k"].iloc[0]
    assert up["trainable_params"] == 4 * 3 * (128 + 512)
    assert pd.isna(up["layer"])


def test_a_budget_that_a_place_cannot_have_is_not_applicable_and_not_zero(found):
    none = found[found["arm"] == "map_q_0_65k"]
    assert not none["applicable"].any()
    assert none[["value", "ci_low", "ci_high", "per_thousand", "trainable_params", "n_seeds"]].isna().all(axis=None)
    assert found.loc[found["arm"] != "map_q_0_65k", "applicable"].all()


def test_recall_is_told_for_each_thousand_parameters(found):
    query = only(found, arm="map_q_0_8k", sessions=4, metric="recall", probe="taught")
    assert query["value"] == 1.0
    assert query["per_thousand"] == pytest.approx(1 / 7.936)
    assert query["n_facts"] == 12
    none = only(found, arm="map_up_all_8k", sessions=4, metric="recall", probe="taught")
    assert none[["value", "per_thousand"]].tolist() == [0.0, 0.0]
    assert found.loc[~found["metric"].isin(["recall"]), "per_thousand"].isna().all()


def test_the_rise_in_base_loss_is_in_nats_with_an_interval_over_seeds(found):
    row = only(found, arm="map_up_all_8k", sessions=4, metric="rise")
    assert row["value"] == pytest.approx(0.3 + (0.01 + 0.02 + 0.0) / 3)
    assert row["ci_high"] - row["value"] == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-5)  # Student's, 2 degrees


def test_shares_are_means_of_seeds(tmp_path):
    taught = [answers("taught", seed, "codes", scores) for seed, scores in ((1, [1, 1, 1, 0]), (2, [0, 1, 0, 0]))]
    rephrased = [answers("rephrase", seed, "codes", [[1, 0], [0, 0], [0, 0], [0, 0]]) for seed in (1, 2)]
    placebo = [answers("placebo", seed, "codes", [0]) for seed in (1, 2)]
    runs = runs_with(tmp_path, (1, 2), "facts", [row for part in (*taught, *rephrased, *placebo) for row in part])
    cell = QUERY.model_copy(update={"arm": "qv"})
    frame = place_map.table(runs, place_map.Places(cells=[cell])).to_pandas()
    recall = only(frame, metric="recall", probe="taught")
    assert recall["value"] == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert recall["per_thousand"] == pytest.approx(0.5 / 65.536)
    assert only(frame, metric="recall", probe="rephrase")["value"] == pytest.approx(1 / 8)


def test_an_arm_without_a_run_is_named(tmp_path):
    runs = read(write_study(tmp_path, {"map_q_0_8k": ARMS["map_q_0_8k"]}, DESIGN))
    with pytest.raises(AtlasError, match="none of map_up_all_8k"):
        place_map.table(runs, place_map.Places(cells=[QUERY, UP]))
