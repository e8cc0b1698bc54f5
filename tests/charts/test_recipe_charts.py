"""The charts that compare recipes: drawn from tables of both presets, complete, with a figure in the title."""

import itertools
import json
import re
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis.strategies import floats, lists
from scipy import optimize

from atlas.charts import base_loss, capacity, recipes, scatter, speed, variance
from atlas.charts.frame import Panel
from atlas.charts.study_tables import Tables
from atlas.page import sections
from atlas.search.halving import TRIALS, neighbours
from atlas.tables import found_recipes
from atlas.workflow import files
from tests.charts.test_charts_drawn import decoded_png, ending, run_step, size_of_svg, title_of

CHARTS = ("variance", "speed", "capacity", "paraphrases", "base_loss")


@pytest.fixture(scope="module", params=CHARTS)
def drawn(request, presets_folder, tmp_path_factory) -> Path:
    """A chart as its step writes it; the path without ending."""
    out: Path = tmp_path_factory.mktemp("charts") / request.param
    run_step(request.param, presets_folder, out)
    return out


def test_a_chart_says_a_figure_and_what_it_rests_on(drawn):
    said = " ".join(json.loads(ending(drawn, "json").read_text())["title"]["subtitle"])
    assert re.search(r"\d", title_of(drawn))
    assert "3 seeds" in said
    assert "nan" not in f"{title_of(drawn)} {said}"


def test_the_picture_is_whole(drawn):
    width, height, pixels = decoded_png(ending(drawn, "png"))
    assert (width, height) == pytest.approx([2 * side for side in size_of_svg(ending(drawn, "svg"))], abs=2)
    assert 1000 < width < 1800
    assert len(set(pixels)) > 50


def test_the_page_has_a_section_for_it(drawn, presets_folder):
    (shown,) = [
        part
        for part in sections.present(Tables(presets_folder), {drawn.name: "<svg>"}, {drawn.name: "How to read it."})
        if part.picture
    ]
    assert shown.section in sections.SECTIONS
    caption = Path("report", f"{drawn.name}.rst").read_text()
    assert caption.strip().endswith(".")


def test_the_chart_that_follows_choices_says_something_for_each(drawn, presets_folder):
    for figure in sections.ALIVE[drawn.name](Tables(presets_folder)):
        described = figure.described()
        assert described["spec"]["marks"]
        columns = {name for _, names, _ in described["columns"] for name in names.split()}
        assert columns | set(figure.arms) | {figure.sessions} <= set(figure.rows)
        for metric in described["metrics"] or [""]:
            for sessions in described["checkpoints"]:
                finding, basis = described["said"][f"{metric}|{sessions}"]
                assert re.search(r"\d", finding)
                assert re.search(r"seeds|facts", basis)


def test_every_source_of_variance_has_its_bar(presets_folder):
    rows = variance.dressed(Tables(presets_folder).variance)
    assert set(rows["source"]) == {"recipe", "place", "recipe x place", "seed", "error"}
    assert rows.groupby(["metric", "sessions"])["value"].sum().tolist() == pytest.approx([1] * 6)
    (said,) = variance.finding(rows[rows["metric"] == "recall"])
    assert said.startswith("Variance of recall after 10 sessions: recipe ")


def test_the_speedruns_title_names_the_cheapest_that_reaches_the_goal(presets_folder):
    rows = speed.dressed(Tables(presets_folder).speedrun)
    assert speed.finding(rows)[0].startswith("99% of 30 facts recalled: ffn_matched_recall with preset recall in ")
    poor = rows.assign(qualifies=0)
    assert speed.finding(poor) == ["No arm recalls 99% of 30 facts; the best is ffn_matched_recall with 100.0%"]


@given(lists(floats(0, 200), min_size=1, max_size=12).map(sorted), floats(1, 30), floats(0, 400))
def test_names_are_far_enough_apart_and_no_farther_from_their_marks_than_others_could_be(at, gap, end):
    placed = scatter.spread(np.array(at), gap, end)
    assert all(after - before >= gap - 1e-6 for before, after in itertools.pairwise(placed))
    ranks = gap * np.arange(len(at))
    best = optimize.isotonic_regression(np.array(at) - ranks).x.clip(0, max(0, end - ranks[-1])) + ranks
    np.testing.assert_allclose(placed, best, atol=1e-6)


@pytest.mark.parametrize(
    ("at", "placed"),
    [
        ([0, 20, 21], [0, 15.5, 25.5]),  # the first has room
        ([0, 1, 2], [0, 10, 20]),  # in the middle of their marks they would begin above the panel, in its legend
        ([98, 99, 100], [80, 90, 100]),
        ([0] * 12, [*range(0, 120, 10)]),  # there is no room for all: past the end
    ],
)
def test_names_have_room_within_the_panel(at, placed):
    assert scatter.spread(np.array(at, float), 10, end=100) == pytest.approx(placed)


RATES = [0.001, 0.002, 0.004]
RECALLED = {"qv": {0.001: 40, 0.002: 80, 0.004: 60}, "ffn": {0.001: 40, 0.002: 50, 0.004: 60}}
"""Of 100 facts after 12 sessions: the best of one has worse on both sides, that of the other is at the edge."""


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    """Tables of a search: two arms on a grid of rates, and an editor with three candidates, of which two go on."""
    tables: Path = tmp_path_factory.mktemp("search")
    same = dict.fromkeys(TRIALS.names, 0.5) | {"val_loss_base": 1.5, "val_loss": 1.6, "recipe": "{}", "n_facts": 100}
    none = {"lr": None, "lr_below": None, "lr_above": None}
    rows = []
    for arm, recalled in RECALLED.items():
        for lr, hits in recalled.items():
            beside = dict(zip(("lr_below", "lr_above"), neighbours(RATES, lr), strict=True))
            tried = {"arm": arm, "candidate": f"rates_{lr:g}", "settings": "rates", "lr": lr, **beside}
            rows += [tried | {"sessions": 4, "recall": 0.9}, tried | {"sessions": 12, "recall": hits / 100}]
    for name, found in {"layers_0": [0.3, 0.1], "layers_1": [0.2, 0.2], "layers_2": [0.1]}.items():
        tried = {"arm": "rome", "candidate": name, "settings": name, **none}
        rows += [tried | {"sessions": 4 + 8 * at, "recall": recall} for at, recall in enumerate(found)]
    trials = [same | row | {"seed": seed, "round": 0} for row in rows for seed in (901, 902, 903)]
    files.write_parquet(tables / "recipes.parquet", found_recipes.table(pd.DataFrame(trials)), {})
    return tables


def test_the_search_is_drawn_by_its_step(searched, tmp_path):
    run_step("recipes", searched, tmp_path / "recipes")
    title = title_of(tmp_path / "recipes")
    assert title.startswith("Best recall after 12 sessions: from 20% (rome) to 80% (qv) At the edge of the rates")
    assert title.endswith("beyond: ffn")
    subtitle = " ".join(json.loads((tmp_path / "recipes.json").read_text())["title"]["subtitle"])
    assert subtitle.startswith("3 candidates for each arm on the same 3 seeds")
    for said in ("hollow: on one side no rate was tried as long", "Faint: after 4, dark: after 12 sessions."):
        assert said in subtitle
    svg = (tmp_path / "recipes.svg").read_text()
    for said in ("qv: 80.0% at 0.002", "ffn: 60.0% at 0.004", "rome: 20.0% by layers_1", "learning rate, thousandths"):
        assert f">{said}<" in svg
    assert len(set(decoded_png(tmp_path / "recipes.png")[2])) > 50


def panel_of(searched, title):
    """The layers of the panel of a title, and its rows."""
    ((chart, rows),) = [
        (chart, rows)
        for chart in recipes.charts(Tables(searched))
        for name, rows in chart.blocks[0].panels
        if name == title
    ]
    return chart.marks(Panel(alt.Chart(rows), rows, [])).to_dict()["layer"], rows


def test_a_panel_of_the_search_shows_the_response_to_the_rate_and_what_was_chosen(searched):
    layers, rows = panel_of(searched, "ffn: 60.0% at 0.004")
    assert rows.loc[rows["chosen"], ["lr", "sessions", "edge"]].to_numpy().tolist() == [[0.004, 12, True]]
    assert rows["edge"].sum() == 1
    (encoding,) = [layer["encoding"] for layer in layers if layer["mark"]["type"] == "line"]
    assert (encoding["x"]["field"], encoding["y"]["field"]) == ("lr", "recall")
    assert (encoding["x"]["scale"]["type"], encoding["x"]["axis"]["values"]) == ("log", RATES)
    low, high = encoding["y"]["scale"]["domain"]
    assert low < rows.loc[rows["sessions"] == 12, "ci_low"].min()
    assert high > rows["recall"].max()


def test_candidates_without_rates_stand_in_rows_the_best_on_top(searched):
    layers, _ = panel_of(searched, "rome: 20.0% by layers_1")
    assert layers[0]["encoding"]["y"]["sort"] == ["layers_1", "layers_0", "layers_2"]


def test_a_closed_search_says_so(searched):
    rows = recipes.dressed(Tables(searched).recipes)
    said = "Every best learning rate lies between two that did no better"
    assert recipes.finding(rows[rows["arm"] != "ffn"])[1:] == [said]
    assert "hollow" not in recipes.rests_on(rows[rows["arm"] != "ffn"])[1]
    assert recipes.finding(rows[rows["arm"] == "rome"])[1:] == []


def test_the_page_shows_a_search_where_there_is_one(presets_folder):
    shown = sections.present(Tables(presets_folder), {"recipes": "<svg>"}, {"recipes": "How to read it."})
    assert [part.section.heading for part in shown if part.picture] == ["Recipes"]


def test_an_arm_holds_as_much_as_it_did_before_its_recall_first_fell():
    loads = {"firm": [0.95, 0.92, 0.91], "falling": [1.0, 0.8, 0.95], "never": [0.5, 0.95, 1.0]}
    rows = pd.concat([pd.DataFrame({"arm": arm, "load": [1.0, 2.0, 3.0], "value": of}) for arm, of in loads.items()])
    assert capacity.held(rows).to_dict() == {"firm": 3.0, "falling": 1.0}
    assert capacity.finding(rows)[0].endswith("an arm recalls 90% of them: firm 3 and falling 1")
    assert capacity.finding(rows[rows["arm"] == "never"])[0].startswith("No arm recalls 90%")


def test_recall_stands_beside_base_loss_and_arms_that_none_beats_are_named(presets_folder):
    tables = Tables(presets_folder)
    rows = base_loss.joined(tables)
    assert rows.groupby("sessions")["arm"].apply(set).tolist() == [set(tables.names)] * 2
    row = rows[(rows["arm"] == "qv") & (rows["sessions"] == 10)].iloc[0]
    loss = tables.base_loss.query("arm == 'qv' and sessions == 10").iloc[0]
    assert (row["rise"], row["rise_low"], row["rise_high"]) == (
        loss["rise"],
        loss["ci_low"],
        loss["ci_high"],
    )
    recall = tables.retention.query(
        "arm == 'qv' and sessions == 10 and probe == 'taught' and metric == 'recall' and domain == 'all'"
    ).iloc[0]
    assert row["value"] == recall["value"]
    best = {"ffn_matched_recall", "ffn_matched_forms"}  # they recall all, with the smallest rise
    assert set(rows.loc[rows["best"] == 1, "arm"]) == best
    assert base_loss.unbeaten(rows)[0].startswith(
        "No arm recalls more for less rise in base loss, after 10 sessions: ffn_matched_"
    )


def test_an_arm_on_a_base_left_at_random_is_not_called_the_gentlest(tables_folder):
    rows = base_loss.joined(Tables(tables_folder))
    at_random = rows[rows["reinit"] != ""]
    assert set(at_random["arm"]) == {"ffn_random_base"}
    assert set(at_random["best"]) == {0}
    assert set(rows.loc[rows["sessions"] == 10, "best"]) == {0, 1}


def test_the_section_of_base_loss_has_both_charts(presets_folder):
    tables = Tables(presets_folder)
    shown = sections.present(tables, {"base_loss": "<svg>"}, {"base_loss": "How to read it."})
    (part,) = [part for part in shown if part.section.name == "base_loss"]
    assert [figure.name for figure in part.alive] == ["base_loss", "front"]
