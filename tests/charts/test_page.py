"""The page: complete, from the tables, and without a network."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from atlas.charts import page
from atlas.charts.output import save
from atlas.charts.tables import Tables
from tests.charts.test_charts_drawn import NETWORK

CHARTS = ("claims", "retention", "curve", "domains", "matrix", "harm")


@pytest.fixture(scope="module")
def results(tables_folder, tmp_path_factory) -> Path:
    """A results folder with charts, tables and the page, as the rules make it."""
    folder: Path = tmp_path_factory.mktemp("results")
    (folder / "tables").symlink_to(tables_folder)
    for name in CHARTS:
        save(importlib.import_module(f"atlas.charts.{name}").draw(Tables(tables_folder)), folder / "charts" / name)
    write_page(folder)
    return folder


def write_page(folder: Path) -> None:
    captions = [str(Path("report", f"{name}.rst").resolve()) for name in CHARTS]
    charts = [str(folder / "charts" / f"{name}.svg") for name in CHARTS]
    options = ["--tables", str(folder / "tables"), "--out", str(folder / "index.html")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["page", *options, "--charts", *charts, "--captions", *captions])
        page.main()


@pytest.fixture(scope="module")
def text(results) -> str:
    return Path(results / "index.html").read_text()


def test_it_needs_no_network_and_is_small(text):
    assert not NETWORK.search(text)
    assert "<script" not in text
    assert len(text) < 3_000_000


def test_nothing_of_the_template_is_left_open(text):
    assert not re.search(r"\$\w", text)


def test_every_chart_is_drawn_and_named(text):
    assert text.count("<svg ") == len(CHARTS)
    assert text.count('role="img" aria-label="Chart: ') == len(CHARTS)
    for name in CHARTS:
        assert f'<h2 id="{name}">' in text


def test_every_arm_and_checkpoint_is_in_the_figures(text, tables_folder):
    assert re.findall(r"<h3>After (\d+) sessions, (\d+) facts", text) == [("4", "12"), ("10", "30")]
    for arm in Tables(tables_folder).names:
        assert text.count(f"<td>{arm}</td>") == 3  # two checkpoints, and the table of memory


def test_a_figure_is_the_tables(text, tables_folder):
    rows = Tables(tables_folder).retention.query("domain == 'all' and sessions == 10 and arm == 'qv'")
    recall = rows.query("probe == 'taught' and metric == 'recall'")["value"].iloc[0]
    row = re.findall(r"<tr><td>qv</td>.*?</tr>", text)[1]
    assert f"<td>{recall:.1%}<small>" in row
    assert "65,536<small>7.2%" in row or "65,536<small>7.3%" in row


def test_ids_are_unique_and_references_meet_them(text):
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'url\(#([^)"]+)\)|href="#([^"]+)"', text)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_its_links_lead_to_files(results, text):
    links = re.findall(r'href="([^"#]+)"', text)
    assert len(links) > len(CHARTS)
    for link in links:
        assert (results / link).is_file(), link


def test_it_says_where_it_comes_from(text):
    assert "f" * 64 in text
    assert "c" * 64 in text


def test_the_same_inputs_give_the_same_bytes(results):
    before = (results / "index.html").read_bytes()
    write_page(results)
    assert (results / "index.html").read_bytes() == before
