"""The list of all charts is complete: modules, captions, rules and sections of the page."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.charts.gallery import GALLERY
from atlas.page import sections
from atlas.workflow.digest import definitions_of

CHARTS = Path("atlas/charts")
NAMES = [chart.name for chart in GALLERY]


def test_every_module_that_is_a_step_is_listed_once():
    steps = {path.stem for path in CHARTS.glob("*.py") if "picture.step(" in path.read_text()}
    assert sorted(NAMES) == sorted(steps)


@pytest.mark.parametrize("name", NAMES)
def test_a_chart_has_a_caption(name):
    assert Path("report", f"{name}.rst").read_text().strip().endswith(".")


def test_the_page_has_a_section_for_each_in_this_order():
    assert [section.name for section in sections.SECTIONS if section.name != "arms"] == NAMES
    assert set(sections.ALIVE) <= set(NAMES)
    assert set(NAMES) - set(sections.ALIVE) == {"recipes", "trace", "map", "detection"}  # nothing can be chosen there


def test_the_rules_read_the_gallery_without_the_charts():
    code = "import sys, atlas.charts.gallery; print(*(set(sys.modules) & {'altair', 'pandas', 'torch'}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize("name", ["speed", "knowledge", "trace"])
def test_a_step_reaches_no_other_chart(name):
    reached = set(definitions_of(f"atlas.charts.{name}"))
    others = {f"atlas.charts.{other}" for other in NAMES if other != name}
    assert not {place for place in reached if any(place.startswith(other) for other in others)}


ADDED = """
import dataclasses, sys
from pathlib import Path

from atlas import metrics

new = dataclasses.replace(metrics.REGISTRY["recall"], name="first_token", label="First token", meaning="it begins well")
metrics.REGISTRY = {**metrics.REGISTRY, "first_token": new}
metrics.OF_FACTS = (*metrics.OF_FACTS, "first_token")
metrics.CHOICES = (*metrics.CHOICES, "first_token")

from atlas.charts import contrasts, retention
from atlas.charts.study_tables import Tables
from atlas.page import page

tables = Tables(Path(sys.argv[1]))
for charts in (retention.charts, contrasts.charts):
    (chart,) = charts(tables)
    titles = [block.heading for block in chart.blocks] + [title for title, _ in chart.blocks[0].panels]
    print(sum("first token" in title.lower() for title in titles), *chart.described()["metrics"])
print(dict(page.data(tables, [])["metrics"])["first_token"])
"""


def test_a_metric_of_the_registry_is_drawn_and_can_be_chosen(tables_folder, tmp_path):
    """In a registry with one entry more, of tables with its rows; nothing else differs."""
    for path in tables_folder.glob("*.parquet"):
        table = pq.read_table(path)
        if path.stem in ("retention", "contrasts"):
            rows = table.to_pandas()
            more = rows[rows["metric"] == "recall"].assign(metric="first_token")
            frame = pd.concat([rows, more], ignore_index=True)
            table = pa.Table.from_pandas(frame, schema=table.schema.remove_metadata(), preserve_index=False)
        pq.write_table(table, tmp_path / path.name)
    command = [sys.executable, "-c", ADDED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    drawn, compared, label = done.stdout.splitlines()
    for said in (drawn, compared):
        number, *chosen = said.split()
        assert number == "1"
        assert "first_token" in chosen
    assert label == "First token"
