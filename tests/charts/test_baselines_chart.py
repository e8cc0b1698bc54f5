"""The charts of the baselines and of the causal trace, and their sections of the page."""

import json
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from atlas.charts import baselines, trace
from atlas.charts.study_tables import Tables
from atlas.page import page, parts, sections
from atlas.tables import arms, baseline_claims, retention, table_step
from atlas.tables import baselines as baselines_table
from atlas.tables.runs import read
from atlas.ttt.editors.trace_columns import KINDS, POSITIONS, TRACE
from atlas.workflow import files
from tests.charts.test_charts_drawn import NETWORK, ending, run_step
from tests.synthetic import Design, write_study
from tests.synthetic import baselines as baseline_arms

STEPS = {"arms": arms, "retention": retention, "baselines": baselines_table, "baseline_claims": baseline_claims}


def traced(cases: int) -> pa.Table:
    """A trace of three layers in which the second feed-forward part at the subject's last character matters most."""
    rows = [
        {"kind": kind, "layer": layer, "position": position, "effect": effect, "n": cases}
        | {"ci_low": effect - 0.05, "ci_high": effect + 0.05, "probability": 0.8, "corrupted": 0.1}
        for kind in KINDS
        for layer in range(3)
        for position in POSITIONS
        for effect in [0.6 if (kind, layer, position) == ("mlp", 1, "subject_last") else 0.01 * layer - 0.005]
    ]
    return pa.Table.from_pylist(rows if cases else [], schema=TRACE)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Tables of adapters, fine-tuning and editors, and a trace beside their runs."""
    folder: Path = tmp_path_factory.mktemp("baselines")
    runs = read(write_study(folder / "ttt", baseline_arms(), Design(seeds=(1, 2), checkpoints=(4, 10))))
    for name, step in STEPS.items():
        files.write_parquet(
            folder / "tables" / f"{name}.parquet", step.table(runs), table_step.provenance(step.__name__, runs)
        )
    files.write_parquet(folder / "ttt" / "trace.parquet", traced(cases=12), {})
    return folder


def test_every_arm_is_named_where_its_line_ends(results, tmp_path):
    run_step("baselines", results / "tables", tmp_path / "baselines")
    svg = ending(tmp_path / "baselines", "svg").read_text()
    for arm in baseline_arms():
        assert len(re.findall(rf">{arm} +\d+\.\d%<", svg)) == (
            2 if arm in ("qv", "ffn") else 1
        )  # adapters: in both panels
    assert "memit_at_once: each point is one edit of all facts up to it" in svg
    assert not NETWORK.search(ending(tmp_path / "baselines", "html").read_text())
    run_step("baselines", results / "tables", tmp_path / "again" / "baselines")
    for suffix in ("svg", "png"):
        assert (
            ending(tmp_path / "again" / "baselines", suffix).read_bytes()
            == ending(tmp_path / "baselines", suffix).read_bytes()
        )


def test_the_title_says_the_ends_of_the_last_checkpoint(results):
    (said,) = baselines.finding(baselines.recall(Tables(results / "tables")))
    rows = Tables(results / "tables").baselines.query("metric == 'efficacy' and sessions == 10")
    best = rows.sort_values("value").iloc[-1]
    assert said.startswith("Recall of all 30 facts taught: from ")
    assert f"{best['value']:.0%} ({best['arm']})" in said


def test_a_study_without_editors_has_no_panel_of_them(results):
    rows = baselines.recall(Tables(results / "tables"))
    tuned = rows[rows["method"].isin(["lora", "finetune"])]
    assert list(baselines.families(tuned)) == ["Fine-tuning of whole matrices"]
    assert set(baselines.families(rows)["Editors"]["arm"]) == {"qv", "ffn", "rome", "memit", "memit_at_once"}


def test_of_adapters_one_of_each_place_and_recipe_is_drawn_and_all_baselines(results):
    rows, table = baselines.recall(Tables(results / "tables")), Tables(results / "tables").arms
    assert {*baselines.without_variants(rows, table)["arm"]} == {*baseline_arms()}
    variants = table[table["arm"].isin(["qv", "ffn"])]
    others = [
        variants.assign(arm=variants["arm"] + "_small", ranks="4"),  # the same place and recipe as before
        variants.assign(arm=variants["arm"] + "_mid", ranks="4,32,32,4"),
        variants.assign(arm=variants["arm"] + "_random", reinit="up,down", recipe="other"),
        variants.assign(arm=variants["arm"] + "_other", recipe="recall"),
    ]
    more = pd.concat([table, *others], ignore_index=True)
    drawn = pd.concat([rows, *(rows[rows["arm"] == "qv"].assign(arm=arm) for arm in more["arm"][len(table) :])])
    assert {*baselines.without_variants(drawn, more)["arm"]} == {*baseline_arms(), "qv_other", "ffn_other"}


def test_the_section_has_the_figures_of_every_checkpoint_and_links_to_its_table(results):
    tables = Tables(results / "tables")
    shown = {part.section.name: part for part in sections.present(tables, {"baselines": "<svg>", "trace": "<svg>"}, {})}
    text = page.section(shown["baselines"], tables, "tables")
    assert "tables/baselines.parquet" in text
    assert "tables/baseline_claims.parquet" in text
    assert "MEMIT is sturdier than ROME over 90 edits." in text  # of its arms; that it was not probed then is said, too
    assert "r-ROME" not in text  # the study has no such arm
    assert text.count("data-sessions=") == 2
    for name in ("Paraphrase", "Specificity", "Growth of the norm", "Core-seconds a fact"):
        assert text.count(f">{name}<") == 2
    assert "What editors leave alone was measured on 2,048 tokens of text that the base wrote itself." in text
    assert text.count(">Edits without effect<") == 2
    row = tables.baselines.query("arm == 'rome' and metric == 'rise' and sessions == 10").iloc[0]
    assert f"<td>{row['value']:+.3f}<small>{row['ci_low']:+.3f} to {row['ci_high']:+.3f}</small></td>" in text
    assert "ttt/trace.parquet" in page.section(shown["trace"], tables, "tables")
    figure = shown["baselines"].alive[0].described()
    assert figure["checkpoints"] == [4, 10]
    assert "datum.value >= 0.05" in json.dumps(figure["spec"])


def test_a_study_without_baselines_has_no_word_of_them(tables_folder):
    tables = Tables(tables_folder)
    assert not {"baselines", "trace"} & {part.section.name for part in sections.present(tables, {}, {})}
    assert "editing" not in set(tables.claims["topic"])


def test_beside_every_arm_stands_what_a_session_takes_and_how_its_rate_was_chosen(results):
    text = parts.arms_table(Tables(results / "tables"))
    for heading in ("Facts a session", "Tokens a session", "Core-seconds a session", "Learning rate, and how it was"):
        assert heading in text
    row = Tables(results / "tables").arms.set_index("arm").loc["qv"]
    assert f"<td>{row['session_facts']:,.0f}</td><td>{row['session_tokens']:,.0f}</td>" in text
    assert "0.003, that of preset essay, not tuned</td>" in text


def test_the_trace_says_where_most_comes_back(results, tmp_path):
    run_step("trace", results / "ttt", tmp_path / "trace")
    spec = json.loads(ending(tmp_path / "trace", "json").read_text())
    assert "0.60 of the answer" in " ".join(spec["title"]["text"])
    assert "layer 1, subject, last" in " ".join(spec["title"]["text"])
    svg = ending(tmp_path / "trace", "svg").read_text()
    assert svg.count(">0.60<") == 1
    assert all(f">{heading}<" in svg for heading in trace.PANELS.values())


def test_parts_that_were_put_back_together_are_named_together(tmp_path):
    files.write_parquet(tmp_path / "trace.parquet", traced(cases=3), {"spec": {"window": 4}})
    tables = Tables(tmp_path)
    assert tables.trace_window == 4
    rows = tables.trace.assign(place=tables.trace["position"].map(trace.PLACES))
    said = "Restoring 3 feed-forward parts brings back at most 0.60 of the answer's probability: layers 0 to 2"
    assert (
        "Restoring 2 feed-forward parts brings back at most 0.60 of the answer's probability: layers 0 to 1"
        in (trace.finding(rows, 2)[0])
    )
    assert said in trace.finding(rows, tables.trace_window)[0]
    assert "parts of 4 layers are put back together" in " ".join(trace.rests_on(rows, tables.trace_window))


def test_a_base_that_knows_nothing_is_said_to(tmp_path):
    files.write_parquet(tmp_path / "trace.parquet", traced(cases=0), {})
    run_step("trace", tmp_path, tmp_path / "trace")
    assert "nothing to trace" in ending(tmp_path / "trace", "svg").read_text()
