"""The catalogue of charts is complete: modules, captions, rules and sections of the page."""

import subprocess
import sys
from pathlib import Path

import pytest

from atlas.charts.catalogue import CATALOGUE
from atlas.page import sections
from atlas.workflow.digest import definitions_of

CHARTS = Path("atlas/charts")
NAMES = [chart.name for chart in CATALOGUE]


def test_every_module_that_is_a_step_is_listed_once():
    steps = {path.stem for path in CHARTS.glob("*.py") if "picture.step(" in path.read_text()}
    assert sorted(NAMES) == sorted(steps)


@pytest.mark.parametrize("name", NAMES)
def test_a_chart_has_a_caption(name):
    assert Path("report", f"{name}.rst").read_text().strip().endswith(".")


def test_the_page_has_a_section_for_each_in_this_order():
    assert [section.name for section in sections.SECTIONS if section.name != "arms"] == NAMES
    assert set(sections.ALIVE) <= set(NAMES)
    assert set(NAMES) - set(sections.ALIVE) == {"recipes", "trace", "detection"}  # nothing can be chosen there


def test_the_rules_read_the_catalogue_without_the_charts():
    code = "import sys, atlas.charts.catalogue; print(*(set(sys.modules) & {'altair', 'pandas', 'torch'}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize("name", ["speed", "knowledge", "trace"])
def test_a_step_reaches_no_other_chart(name):
    reached = set(definitions_of(f"atlas.charts.{name}"))
    others = {f"atlas.charts.{other}" for other in NAMES if other != name}
    assert not {place for place in reached if any(place.startswith(other) for other in others)}
