"""The page: complete, from the tables, without a network; what needs a browser is in tests/browser."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from atlas.charts import frame, theme
from atlas.charts.study_tables import Tables
from atlas.page import headlines, page, prose, sections
from atlas.page.templates import rendered
from atlas.workflow import files
from tests.charts.made_tables import make_tables
from tests.charts.test_charts_drawn import NETWORK
from tests.page.made_page import CHARTS, make_page, save_picture, write_page
from tests.synthetic import Design, arms_like_the_study


@pytest.fixture(scope="module")
def results(tables_folder, made_once) -> Path:
    """A results folder with the charts' pictures, tables and the page, as the rules make it."""
    return Path(made_once("results", lambda folder: make_page(folder, tables_folder, save_picture)))


@pytest.fixture(scope="module")
def text(results) -> str:
    return Path(results / "index.html").read_text()


@pytest.fixture(scope="module")
def data(text) -> dict[str, Any]:
    return page_data(text)


def page_data(text: str) -> dict[str, Any]:
    """What the page carries for its script."""
    found = re.search(r'<script type="application/json" id="atlas">(.*?)</script>', text, re.DOTALL)
    assert found
    loaded: dict[str, Any] = json.loads(found[1])
    return loaded


def test_a_chart_without_the_chosen_metric_shows_the_nearest_of_the_registry(data):
    assert data["nearest"] == {"association": "recall", "recognition_net": "recognition"}
    assert set(data["nearest"].values()) <= {metric for metric, _ in data["metrics"]}


def without_library(text: str) -> str:
    return re.sub(r'<script type="application/gzip".*?</script>', "", text, flags=re.DOTALL)


def test_it_needs_no_network_and_is_small(text):
    assert not NETWORK.search(without_library(text))
    assert len(text) < 3_000_000


def test_nothing_of_the_template_is_left_open(text):
    bare = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"\{[{%#]", bare)


def test_every_chart_stands_there_as_a_picture_with_a_name(text):
    assert text.count("<svg ") == len(CHARTS)
    assert text.count('role="img" aria-label="Chart: ') == len(CHARTS)
    for name in CHARTS:
        assert f'<h2 id="{name}">' in text


def test_the_page_begins_with_the_findings_each_linked_to_its_chart(text, tables_folder):
    found = headlines.findings(Tables(tables_folder))
    assert 1 <= len(found) <= 5
    top = text[: text.index("<main>")]
    for each in found:
        assert f'<dt><a href="#{each.section}">{each.topic}</a></dt>' in top
        assert re.sub("<.*?>", "", html.unescape(rendered(each.says))) in re.sub("<.*?>", "", html.unescape(top))


def test_the_ledger_begins_with_the_essay_s_central_claim(text, tables_folder):
    claims = Tables(tables_folder).claims
    said = " ".join(prose.answer(claims))
    assert said in html.unescape(text)
    row = claims[(claims["claim_id"] == prose.CENTRAL) & (claims["metric"] == "recall")].iloc[0]
    assert row["statement"].removesuffix(".") in said


def test_the_answer_follows_the_ledger(tables_folder):
    claims = Tables(tables_folder).claims.assign(verdict="contradicted", measured=-0.05, ci_low=-0.07, ci_high=-0.03)
    central, all_of_them = prose.answer(claims)
    assert "contradicted under recall, -5.0 points (-7.0 to -3.0)" in central
    assert "recall reproduces 0 and contradicts" in all_of_them
    central, all_of_them = prose.answer(claims.assign(verdict="not testable"))
    assert "cannot be tested" in central
    assert "None of its claims" in all_of_them


def test_every_live_chart_has_its_rows_and_says_something_for_every_choice(data):
    assert {"retention", "curve", "domains", "matrix", "base_loss"} <= set(data["figures"])
    for name, figure in data["figures"].items():
        rows = data["tables"][figure["table"]]
        fields = {column for _, columns, _ in figure["columns"] for column in columns.split()}
        assert fields | set(figure["arms"]) | {figure["sessions"]} <= set(rows), name
        for metric in figure["metrics"] or [""]:
            for sessions in figure["checkpoints"]:
                finding, basis = figure["said"][f"{metric}|{sessions}"]
                assert re.search(r"\d", finding), name
                assert re.search(r"seeds|facts", basis), name


def test_colours_are_those_of_the_page_in_pictures_and_charts(text, data):
    declared = set(re.findall(r"(--c[0-9a-f]{6}): light-dark\(", text))
    assert set(re.findall(r"var\((--c[0-9a-f]{6})\)", text)) <= declared
    assert set(theme.PALETTE) <= set(theme.IN_THE_DARK)
    fixed = set(re.findall(r'"(#[0-9a-f]{6})"', json.dumps(data["figures"])))
    assert not fixed & set(theme.IN_THE_DARK)


def test_packed_rows_are_the_tables(tables_folder):
    rows = Tables(tables_folder).base_loss
    packed = frame.packed(rows)
    assert [packed["arm"]["texts"][at] for at in packed["arm"]["at"]] == list(rows["arm"])
    assert packed["rise"] == pytest.approx(list(rows["rise"]), rel=1e-3)


def test_every_arm_and_checkpoint_is_in_the_figures(text, tables_folder):
    assert re.findall(r"<h3>After (\d+) sessions, (\d+) facts", text) == [("4", "12"), ("10", "30")]
    for arm in Tables(tables_folder).names:
        assert text.count(f'<tr data-arm="{arm}">') == 5  # arms, two checkpoints, two metrics of memory
        assert f'name="arms" value="{arm}" checked' in text


def test_a_figure_is_the_tables(text, tables_folder):
    rows = Tables(tables_folder).retention.query("domain == 'all' and sessions == 10 and arm == 'qv'")
    recall = rows.query("probe == 'taught' and metric == 'recall'")["value"].iloc[0]
    row = re.findall(r'<tr data-arm="qv">.*?</tr>', text)[1]
    assert f"<td>{recall:.1%}<small>" in row
    assert "65,536<small>7.2%" in row


ODD = "<b>q & v</b>"


def test_a_name_with_signs_of_html_reaches_the_page_as_it_is(tables_folder, tmp_path):
    for path in tables_folder.glob("*.parquet"):
        table = pq.read_table(path)
        for at, name in enumerate(table.column_names):
            if pa.types.is_string(table.schema.field(name).type):
                odd = pc.if_else(pc.equal(table[name], "qv"), ODD, table[name])
                table = table.set_column(at, table.schema.field(name), odd)
        pq.write_table(table, tmp_path / path.name)
    tables = Tables(tmp_path)
    assert ODD in tables.names
    text = page.render(tables, {"retention": "<svg></svg>"}, {"retention": "Of <i> & more."}, "tables", "")
    assert "<b>" not in text
    assert f'<td class="text">{html.escape(ODD)}</td>' in text
    assert f'name="arms" value="{html.escape(ODD)}" checked' in text
    assert "<p>Of &lt;i&gt; &amp; more.</p>" in text
    assert ODD in page_data(text)["arms"]


def test_after_a_single_session_it_says_one_session(tmp_path):
    design = Design(seeds=(1,), checkpoints=(1, 2), facts_per_session=1)
    folder = make_tables(tmp_path, {"qv": arms_like_the_study()["qv"], "ffn": arms_like_the_study()["ffn"]}, design)
    text = without_library(page.render(Tables(folder), {}, {}, "tables", ""))
    assert 'value="1">1 session</label>' in text
    assert "<h3>After 1 session, 1 fact</h3>" in text
    assert "<h3>After 2 sessions, 2 facts</h3>" in text
    assert not re.search(r"\b1 (sessions|facts|seeds|claims)\b", text)
    assert not re.search(r"\} (sessions|arms)\b", text)  # of the script: one function joins a number and its noun


def test_a_section_stands_there_where_its_chart_or_table_does(tables_folder):
    shown = sections.present(Tables(tables_folder), {"base_loss": "<svg>", "speed": "<svg>", "new": "<svg>"}, {})
    names = [part.section.name for part in shown]
    assert names == [
        "retention",
        "claims",
        "arms",
        "curve",
        "speed",
        "base_loss",
        "new",
    ]  # four have tables of their own
    assert [part.section.name for part in shown if part.picture] == ["speed", "base_loss", "new"]
    assert shown[-1].section.heading == "New"


def test_ids_are_unique_and_references_meet_them(text):
    bare = re.sub(r"<script type=.*?</script>", "", text, flags=re.DOTALL)
    ids = re.findall(r'\bid="([^"]+)"', bare)
    assert len(ids) == len(set(ids))
    met = {name for pair in re.findall(r'url\(#([^)"]+)\)|href="#([^"]+)"', bare) for name in pair if name}
    assert met <= set(ids)


def test_it_says_where_it_comes_from(text):
    assert "f" * 64 in text
    assert "c" * 64 in text


def test_the_same_inputs_give_the_same_bytes(results):
    before = (results / "index.html").read_bytes()
    write_page(results)
    assert (results / "index.html").read_bytes() == before


def test_a_picture_carries_its_font_and_the_page_has_it_once(results, text):
    svg = files.read_text(results / "charts" / "base_loss.svg")
    assert svg.count("@font-face") == 2
    assert text.count("@font-face") == 2
    assert "<style>" not in page.inline(svg, "base_loss", "Chart")
