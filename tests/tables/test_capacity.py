"""The table of capacity, by hand."""

import pandas as pd
import pytest

from atlas.tables import capacity
from atlas.tables.columns import CAPACITY
from atlas.tables.runs import read
from tests.synthetic import Design, SyntheticArm, write_study

DESIGN = Design(seeds=(1, 2), checkpoints=(2, 4), facts_per_session=3)
ARMS = {
    "all": SyntheticArm(recall=1.0, forgetting=0),
    "none": SyntheticArm(("up", "down"), ranks=(2, 0, 0, 4), recall=0.0),
    "untrained": SyntheticArm(recall=0, recipe={"phases": {"fast": None, "slow": None}}),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> pd.DataFrame:
    table = capacity.table(read(write_study(tmp_path_factory.mktemp("runs"), ARMS, DESIGN)))
    assert table.schema == CAPACITY
    frame: pd.DataFrame = table.to_pandas()
    return frame


def test_facts_are_counted_for_each_parameter(found):
    whole = found[found["arm"] == "all"]
    assert whole["session"].tolist() == [1, 2, 3, 4]
    assert whole["n_facts"].tolist() == [3, 6, 9, 12]
    # query and value, 128 by 128, rank 32, four layers
    assert whole["facts_per_parameter"].tolist() == pytest.approx([n / (4 * 2 * 32 * 256) for n in (3, 6, 9, 12)])
    assert whole["value"].tolist() == [1.0] * 4
    assert whole[["recipe", "targets", "ranks"]].drop_duplicates().to_numpy().tolist() == [["essay", "q,v", "32"]]


def test_ranks_count_layer_by_layer(found):
    none = found[found["arm"] == "none"]
    assert none["value"].tolist() == [0.0] * 4
    assert none["facts_per_parameter"].iloc[-1] == pytest.approx(12 / (2 * (128 + 512) * (2 + 4)))
    assert none["ranks"].iloc[0] == "2,0,0,4"


def test_an_arm_that_trains_nothing_has_no_capacity(found):
    assert list(dict.fromkeys(found["arm"])) == ["all", "none"]


def test_without_a_trained_arm_the_table_is_empty(tmp_path):
    assert capacity.table(read(write_study(tmp_path, {"untrained": ARMS["untrained"]}, DESIGN))).num_rows == 0
