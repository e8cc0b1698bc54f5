"""The arm that was never trained: held against chance, and refused where it cannot be true."""

from pathlib import Path

import pandas as pd
import pytest

from atlas.errors import AtlasError
from atlas.tables import controls, retention
from atlas.tables.columns import CONTROLS
from atlas.tables.runs import read
from atlas.ttt.run_files import FACTS
from atlas.workflow import files
from tests.synthetic import Design, arms_like_the_study, write_frame, write_study
from tests.tables.by_hand import answers, only, runs_with

TWO = {name: arms_like_the_study()[name] for name in ("qv", "untrained")}


@pytest.fixture
def folders(tmp_path) -> list[Path]:
    return write_study(tmp_path, TWO, Design((1, 2), (2,)))


def change(folder: Path, **columns: object) -> Path:
    path = folder / "facts.parquet"
    write_frame(path, files.read_parquet(path).to_pandas().assign(**columns), FACTS)
    return path


def test_a_zero_adapter_is_at_chance(folders):
    change(folders[1], associated=lambda rows: rows.index % 51 == 50, alternatives=50)
    table = controls.table(read(folders))
    assert table.schema == CONTROLS
    rows = table.to_pandas()
    assert set(rows["arm"]) == {"untrained"}
    assert set(zip(rows["probe"], rows["metric"], strict=True)) == {
        (probe, metric)
        for probe in ("taught", "rephrase", "placebo")
        for metric in ("recall", "association", "recognition")
    }
    assert set(rows["verdict"]) == {"at chance"}
    association = only(rows, probe="taught", metric="association")
    assert association["chance"] == pytest.approx(1 / 51)
    assert "chance 2.0%: at chance" in association["finding"]


@pytest.mark.parametrize(("won", "verdict"), [(True, "above chance"), (False, "below chance")])
def test_an_association_off_chance_is_said(folders, won, verdict):
    change(folders[1], associated=won, alternatives=1)
    rows = controls.table(read(folders)).to_pandas()
    assert only(rows, probe="placebo", metric="association")["verdict"] == verdict


def test_facts_that_several_seeds_ask_count_once(folders):
    rows = controls.table(read(folders)).to_pandas()
    placebo = files.read_parquet(folders[1] / "facts.parquet").to_pandas().query("probe == 'placebo'")
    asked = rows.query("probe == 'placebo'")
    assert set(asked["n_facts"] + asked["left_out"]) == {placebo["fact_id"].nunique()}
    assert set(asked.query("metric == 'association'")["left_out"]) == {
        placebo.query("alternatives == 0")["fact_id"].nunique()
    }


def test_a_fact_that_seeds_ask_among_other_alternatives_counts_once_by_their_mean(folders):
    """Of seed 1 all facts have one alternative and win, of seed 2 they have three and lose."""
    asked = files.read_parquet(folders[1] / "facts.parquet").to_pandas()
    first = asked["seed"] == 1
    change(folders[1], associated=first, alternatives=first.map({True: 1, False: 3}))
    row = only(controls.table(read(folders)).to_pandas(), probe="placebo", metric="association")
    assert (row["value"], row["chance"]) == pytest.approx((1 / 2, (1 / 2 + 1 / 4) / 2))
    assert row["n_facts"] == asked.loc[asked["probe"] == "placebo", "fact_id"].nunique()


@pytest.mark.parametrize(("column", "metric"), [("recognised", "recognition"), ("recalled", "recall")])
def test_an_untrained_arm_that_answers_otherwise_than_the_base_is_refused(folders, column, metric):
    path = change(folders[1], **{column: True})
    with pytest.raises(AtlasError, match=f"{metric} of fact .* trains nothing") as caught:
        controls.table(read(folders))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_base_recalls_by_itself_is_chance(folders):
    change(folders[1], recalled=True, recalled_base=True)
    rows = controls.table(read(folders)).to_pandas()
    recall = only(rows, probe="taught", metric="recall")
    assert (recall["value"], recall["chance"], recall["verdict"]) == (1, 1, "at chance")


def test_a_study_without_such_an_arm_has_an_empty_table(folders):
    assert controls.table(read(folders[:1])).num_rows == 0


def test_chance_by_hand(tmp_path):
    """One fact asked twice, with 3 alternatives, one with 4 that the base recalls, and one without any."""
    rows = answers("rephrase", 1, "codes", [[0, 0], [0], [0]])
    alternatives, base = (3, 3, 4, 0), (False, False, True, False)
    given = [
        row | {"alternatives": n, "recalled_base": known}
        for row, n, known in zip(rows, alternatives, base, strict=True)
    ]
    frame: pd.DataFrame = retention.frame(runs_with(tmp_path, [1], "facts", given))
    chance = frame[frame["domain"] == "all"].set_index("metric")["chance"]
    assert chance["association"] == pytest.approx((1 / 4 + 1 / 5) / 2)  # of the facts that count
    assert chance["recall"] == pytest.approx(1 / 3)
    assert chance["recognition"] == 0
