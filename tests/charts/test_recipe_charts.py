"""The charts that compare recipes: drawn from tables of both presets, complete, with a figure in the title."""

import importlib
import json
import re
from pathlib import Path

import pytest

from atlas.charts import sections, variance
from atlas.charts.tables import Tables
from tests.charts.test_charts_drawn import decoded_png, ending, run_step, size_of_svg, title_of

CHARTS = ("variance",)


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
    assert shown.section.heading != drawn.name.capitalize()  # of its own, not made from the name
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
