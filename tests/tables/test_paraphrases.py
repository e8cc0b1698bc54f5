"""The table of paraphrases: which arms are compared, on which questions, and its figures by hand."""

import pytest

from atlas.errors import AtlasError
from atlas.tables import paraphrases
from atlas.tables.columns import PARAPHRASES
from atlas.tables.runs import Runs, read
from atlas.ttt.run_files import FACTS
from atlas.workflow import files
from tests.synthetic import Design, SyntheticArm, write_frame, write_study

RECALL = {"preset": "recall", "phases": {"all": {"steps": 2}}}
DESIGN = Design(seeds=(1, 2), checkpoints=(2,))
ARMS = {
    "ffn_two": SyntheticArm(("up", "down"), recipe=RECALL | {"paraphrases": 2}),
    "ffn_none": SyntheticArm(("down", "up"), recipe=RECALL),
    "qv_none": SyntheticArm(recipe=RECALL),
    "qv_one": SyntheticArm(recipe=RECALL | {"paraphrases": 1, "clip": 2.0}),  # differs in more than its paraphrases
    "alone": SyntheticArm(("k",), recipe=RECALL | {"paraphrases": 1}),
}


def recalled_under_two(folders) -> None:
    """Let paraphrases, and nothing else, be recalled under ffn_two, and under no other arm."""
    for folder in folders:
        frame = files.read_parquet(folder / "facts.parquet", FACTS).to_pandas()
        frame["recalled"] = (frame["probe"] == "rephrase") & (folder.parent.name == "ffn_two")
        write_frame(folder / "facts.parquet", frame.astype({"session_taught": "Int32"}), FACTS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    folders = write_study(tmp_path_factory.mktemp("runs"), ARMS, DESIGN)
    recalled_under_two(folders)
    return read(folders)


def test_arms_that_differ_in_paraphrases_alone_make_a_series(runs):
    (series,) = paraphrases.series(runs.records)
    assert [record.arm for record in series] == ["ffn_none", "ffn_two"]


def test_the_figures_by_hand(runs):
    table = paraphrases.table(runs)
    assert table.schema == PARAPHRASES
    recall = table.to_pandas().query("metric == 'recall'").set_index(["arm", "probe"])
    assert recall["value"].to_dict() == {
        ("ffn_none", "rephrase"): 0.0,
        ("ffn_none", "taught"): 0.0,
        ("ffn_two", "rephrase"): 1.0,
        ("ffn_two", "taught"): 0.0,
    }
    assert recall["paraphrases"].tolist() == [0, 0, 2, 2]
    assert set(recall["place"]) == {"ffn_none"}
    assert set(recall["contract"]) == {"exact answer"}
    assert set(zip(recall["n_seeds"], recall["n_facts"], strict=True)) == {(2, 6)}


def test_without_a_series_the_table_is_empty(tmp_path):
    some = {name: ARMS[name] for name in ("qv_none", "alone")}
    folders = write_study(tmp_path, some, DESIGN)
    recalled_under_two(folders)
    assert paraphrases.table(read(folders)).num_rows == 0


@pytest.mark.parametrize("change", ["another fact", "a paraphrase less"])
def test_arms_must_be_asked_the_same_whatever_paraphrases_they_are_taught(tmp_path, change):
    folders = write_study(tmp_path, {name: ARMS[name] for name in ("ffn_none", "ffn_two")}, DESIGN)
    frame = files.read_parquet(folders[1] / "facts.parquet", FACTS).to_pandas().astype({"session_taught": "Int32"})
    odd = frame["fact_id"] == frame.loc[frame["probe"] == "rephrase", "fact_id"].iloc[0]
    other = frame.assign(fact_id=frame["fact_id"].mask(odd, "other")), frame[frame["form"] < 3]
    write_frame(folders[1] / "facts.parquet", other[change == "a paraphrase less"], FACTS)
    with pytest.raises(AtlasError, match="has other facts than in"):
        _ = read(folders).facts
