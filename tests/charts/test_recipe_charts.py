"""The charts that compare recipes: drawn from tables of both presets, complete, with a figure in the title."""

import importlib
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis.strategies import floats, lists
from scipy import optimize

from atlas.charts import capacity, front, recipes, scatter, speed, variance
from atlas.charts.tables import Tables
from atlas.page import sections
from atlas.search.schema import TRIALS
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
    found = importlib.import_module(f"atlas.charts.{drawn.name}").live(Tables(presets_folder))
    for figure in found if isinstance(found, list) else [found]:
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
    assert variance.finding(rows).startswith("Variance of recall after 10 sessions: recipe ")


def test_the_speedruns_title_names_the_cheapest_that_reaches_the_goal(presets_folder):
    rows = speed.dressed(Tables(presets_folder).speedrun)
    assert speed.finding(rows).startswith("99% of 30 facts recalled: ffn_matched_recall with preset recall in ")
    poor = rows.assign(qualifies=0)
    assert speed.finding(poor) == "No arm recalls 99% of 30 facts; the best is ffn_matched_recall with 100.0%"


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


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    """Tables of a search: two placements, three candidates, of which two go on."""
    tables: Path = tmp_path_factory.mktemp("search")
    tried = [("replay_0", 0, 0.9, 100), ("replay_1", 0, 0.4, 200), ("essay", 0, 0.1, 50)]
    tried += [("replay_0", 1, 0.8, 200), ("essay", 1, 0.05, 100)]
    same = dict.fromkeys(TRIALS.names, 0.5) | {"val_loss_base": 1.5, "core_seconds": 3.0, "recipe": "{}"}
    rows = [
        same | {"arm": arm, "candidate": name, "rung": rung, "sessions": 4 + 8 * rung, "seed": seed}
        | {"recall": recall, "characters": characters, "val_loss": 1.6 + recall}
        for arm in ("qv", "ffn")
        for name, rung, recall, characters in tried
        for seed in (901, 902)
    ]  # fmt: skip
    files.write_parquet(tables / "recipes.parquet", found_recipes.table(pd.DataFrame(rows)), {})
    return tables


def test_the_search_is_drawn_by_its_step(searched, tmp_path):
    run_step("recipes", searched, tmp_path / "recipes")
    assert title_of(tmp_path / "recipes") == "Best recall after 12 sessions: ffn 80.0% (replay_0), qv 80.0% (replay_0)"
    subtitle = json.loads((tmp_path / "recipes.json").read_text())["title"]["subtitle"]
    assert subtitle[0].startswith("3 candidates for each placement on the same 2 seeds")
    svg = (tmp_path / "recipes.svg").read_text()
    for said in ("ffn, after 4 sessions", "qv, after 4 sessions", "after 12 sessions", "replay", "essay"):
        assert f">{said}<" in svg
    assert len(set(decoded_png(tmp_path / "recipes.png")[2])) > 50


def test_a_panel_of_the_search_shows_its_own_candidates_and_who_goes_on(searched):
    rows = recipes.dressed(Tables(searched).recipes)
    drawn = recipes.panel(rows, recipes.COST, "qv", 4, first=True, last=True)
    shown = drawn.data
    assert shown["candidate"].tolist() == ["replay_0", "replay_1", "essay"]
    assert shown["family"].tolist() == ["replay", "replay", "essay"]
    assert shown["survived"].tolist() == [True, False, True]
    assert shown["front"].tolist() == [True, False, True]


def test_all_placements_have_one_scale_at_a_rung(searched):
    rows = recipes.dressed(Tables(searched).recipes)
    assert recipes.scale(rows, recipes.COST).domain == pytest.approx([50 / 1.15, 200 * 1.15])
    low, high = recipes.scale(rows, recipes.BASE_LOSS).domain
    assert low < 0
    assert high > 1.0


def test_the_page_shows_a_search_where_there_is_one(presets_folder):
    shown = sections.present(Tables(presets_folder), {"recipes": "<svg>"}, {"recipes": "How to read it."})
    assert [part.section.heading for part in shown if part.picture] == ["Recipes"]


def test_an_arm_holds_as_much_as_it_did_before_its_recall_first_fell():
    loads = {"firm": [0.95, 0.92, 0.91], "falling": [1.0, 0.8, 0.95], "never": [0.5, 0.95, 1.0]}
    rows = pd.concat([pd.DataFrame({"arm": arm, "load": [1.0, 2.0, 3.0], "value": of}) for arm, of in loads.items()])
    assert capacity.held(rows).to_dict() == {"firm": 3.0, "falling": 1.0}
    assert capacity.finding(rows).endswith("facts per thousand parameters: firm 3 and falling 1")
    assert capacity.finding(rows[rows["arm"] == "never"]).startswith("No arm recalls 90%")


def test_recall_stands_beside_base_loss_and_arms_that_none_beats_are_named(presets_folder):
    tables = Tables(presets_folder)
    rows = front.joined(tables)
    assert rows.groupby("sessions")["arm"].apply(set).tolist() == [set(tables.names)] * 2
    row = rows[(rows["arm"] == "qv") & (rows["sessions"] == 10)].iloc[0]
    base_loss = tables.base_loss.query("arm == 'qv' and sessions == 10").iloc[0]
    assert (row["rise"], row["rise_low"], row["rise_high"]) == (
        base_loss["rise"],
        base_loss["ci_low"],
        base_loss["ci_high"],
    )
    recall = tables.retention.query(
        "arm == 'qv' and sessions == 10 and probe == 'taught' and metric == 'recall' and domain == 'all'"
    ).iloc[0]
    assert row["value"] == recall["value"]
    best = {"ffn_matched_recall", "ffn_matched_forms"}  # they recall all, with the smallest rise
    assert set(rows.loc[rows["best"] == 1, "arm"]) == best
    assert front.finding(rows).startswith(
        "No arm recalls more for less rise in base loss, after 10 sessions: ffn_matched_"
    )


def test_an_arm_on_a_base_left_at_random_is_not_called_the_gentlest(tables_folder):
    rows = front.joined(Tables(tables_folder))
    at_random = rows[rows["reinit"] != ""]
    assert set(at_random["arm"]) == {"ffn_random_base"}
    assert set(at_random["best"]) == {0}
    assert set(rows.loc[rows["sessions"] == 10, "best"]) == {0, 1}


def test_the_section_of_base_loss_has_both_charts(presets_folder):
    tables = Tables(presets_folder)
    shown = sections.present(tables, {"base_loss": "<svg>"}, {"base_loss": "How to read it."})
    (part,) = [part for part in shown if part.section.name == "base_loss"]
    assert [figure.name for figure in part.alive] == ["base_loss", "front"]
