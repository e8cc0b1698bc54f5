"""The chart of the map, its figures on the page and in the terminal."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from atlas.charts import layer_role
from atlas.charts import map as place_map
from atlas.charts.study_tables import Tables
from atlas.page import sections, terminal
from atlas.study import config
from atlas.tables import map as map_table
from atlas.tables import table_step
from atlas.tables.runs import read
from atlas.workflow import files
from tests.charts.test_charts_drawn import NETWORK, decoded_png, ending, run_step, size_of_svg, title_of
from tests.synthetic import Design, SyntheticArm, write_study

pytestmark = pytest.mark.xdist_group("chart of the map")  # one worker makes its models

BUDGETS = {"slot": [8000, 65_000], "role": [8000, 65_000], "layer": [8000]}
PLACES = {"roles": ["q", "up"], "layers": [0, 3], "budgets": BUDGETS}
RECALL = {"map_up_0_8k": 1.0, "map_q_3_8k": 0.0, "map_up_all_65k": 1.0, "map_q_all_65k": 0.0}
RECALL |= {"map_all_0_8k": 1.0, "map_all_3_8k": 1.0}
DESIGN = Design(seeds=(1, 2, 3), checkpoints=(2, 4))


def make(folder: Path, budgets=BUDGETS) -> Path:
    study = config.study({"arms": {"qv": {"targets": ["q", "v"]}}, "map": {**PLACES, "budgets": budgets}})
    arms = {
        name: SyntheticArm(tuple(arm.targets), tuple(arm.layer_ranks(4)), recall=RECALL.get(name, 0.5), forgetting=0)
        for name, arm in study.mapped.items()
    }
    runs = read(write_study(folder / "ttt", arms, DESIGN))
    made = map_table.table(runs, map_table.Places(cells=study.cells))
    files.write_parquet(folder / "tables/map.parquet", made, table_step.provenance("atlas.tables.map", runs))
    return folder / "tables"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("map"))


@pytest.fixture(scope="module")
def drawn(folder, tmp_path_factory) -> Path:
    out: Path = tmp_path_factory.mktemp("charts") / "map"
    run_step("map", folder, out)
    return out


def test_the_title_says_where_most_is_recalled_and_where_least(drawn):
    assert title_of(drawn) == (
        "One role in one layer, 8,000 parameters: recall from 0% (q of layer 3) to 100% (up of layer 0) "
        "One role in all layers, 65,000 parameters: recall from 0% (q) to 100% (up) "
        "All roles of one layer, 8,000 parameters: recall 100% everywhere"
    )
    said = " ".join(json.loads(ending(drawn, "json").read_text())["title"]["subtitle"])
    assert "12 facts after 4 sessions; 3 seeds" in said
    assert "nan" not in said


def test_the_picture_is_whole_and_needs_no_network(drawn):
    width, height, pixels = decoded_png(ending(drawn, "png"))
    assert (width, height) == pytest.approx([2 * side for side in size_of_svg(ending(drawn, "svg"))], abs=2)
    assert 1000 < width < 1500
    assert len(set(pixels)) > 50
    assert not NETWORK.search(ending(drawn, "html").read_text())


def test_cells_that_no_rank_fits_say_so_and_are_not_zero(drawn, folder):
    svg = ending(drawn, "svg").read_text()
    assert svg.count(">n/a<") == 3 * 2  # q in two layers at the larger budget, for three measures
    assert "not applicable" in svg
    rows = place_map.shown(Tables(folder).map)
    assert (rows.loc[rows["said"] == "n/a", "role"] == "q").all()
    assert rows.loc[rows["said"] == "n/a", "depth"].isna().all()
    fits = rows[rows["applicable"] & (rows["metric"] == "recall") & (rows["probe"] == "taught")]
    assert fits.set_index("arm")["said"].loc[["map_up_0_8k", "map_q_3_8k"]].tolist() == ["100", "0"]


def test_without_such_cells_nothing_is_said_of_them(tmp_path):
    charts = list(place_map.charts(Tables(make(tmp_path, {"slot": [8000]}))))
    assert not any("n/a" in line for chart in charts for line in chart.subtitle)
    assert not any((chart.rows["said"] == "n/a").any() for chart in charts)
    assert len(charts) == 3  # heatmaps: of one budget there is no line


def test_depth_is_a_share_or_a_part_of_the_greatest_rise(folder):
    rows = place_map.shown(Tables(folder).map)
    shares = rows[rows["metric"] != "rise"].dropna(subset=["value"])
    assert (shares["depth"] == shares["value"]).all()
    assert rows.loc[rows["metric"] == "rise", "depth"].max() == 1.0


def test_margins_stand_behind_a_gap():
    assert layer_role.with_margin(["all", "0", "1"]) == ["0", "1", "", "all"]
    assert layer_role.with_margin(["0", "1"]) == ["0", "1"]


def test_the_page_has_the_picture_its_caption_and_the_figures(folder):
    (shown,) = sections.present(Tables(folder), {"map": "<svg>"}, {"map": "How to read it."})
    assert shown.section.heading == "Place by place"
    assert not shown.alive
    (part,) = shown.section.parts
    html = part(Tables(folder))
    assert html.count("<thead><tr>") == 4  # two checkpoints, two budgets
    assert html.count("<tr>") == 4 + 2 * (8 + 6)
    assert "not applicable<small>at most 32,768</small>" in html
    assert "data-arm" not in html  # no arm of the page's choices


def test_the_terminal_writes_a_rise_in_nats_and_parameters_in_full(folder):
    frame = terminal.rows(folder, "map", terminal.Choice(arm=["map_q_0_8k", "map_q_0_65k"], sessions=[4]))
    text = io.StringIO()
    terminal.show(frame, "map", Console(file=text, width=250))
    rise = next(line for line in text.getvalue().splitlines() if "rise" in line and "yes" in line)
    assert "7,936" in rise
    assert "0.21" in rise
    assert "%" not in rise
    assert "32,768" in text.getvalue()
    assert pd.isna(frame.loc[frame["arm"] == "map_q_0_65k", "value"]).all()
