"""The chart of known and unknown facts, and the section on a real model."""

import pandas as pd
import pytest

from atlas.charts import knowledge
from atlas.charts.study_tables import Tables
from atlas.page import parts, prose, readme, sections
from atlas.tables import arms, contrasts, controls, knowledge_contrasts, table_step
from atlas.tables import knowledge as knowledge_table
from atlas.tables.runs import read
from atlas.ttt.run_files import FACTS
from atlas.workflow import files
from tests.charts.test_charts_drawn import NETWORK, ending, run_step
from tests.synthetic import Design, SyntheticArm, arms_like_the_study, write_frame, write_study

ARMS = {
    "qv": SyntheticArm(recall=0.9),
    "ffn": SyntheticArm(("up", "down"), recall=0.1),
    "untrained": arms_like_the_study()["untrained"],
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Tables of a base that knew every third fact and neighbour; arm ffn destroyed what it was not taught."""
    folder = tmp_path_factory.mktemp("knowledge")
    runs = write_study(
        folder / "ttt", ARMS, Design(seeds=(1, 2, 3, 4, 5, 6), checkpoints=(4, 10), further=("neighbour", "hop"))
    )
    for run in runs:
        facts = pd.read_parquet(run / "facts.parquet")
        known = facts["fact_id"].str.extract(r"(\d+)$")[0].astype(int) % 3 == 0
        placebo = facts["probe"] == "placebo"
        untaught = placebo | (facts["probe"] == "neighbour")
        facts["contradicts"], facts["answered_base"] = known & ~placebo, known & untaught
        facts["answered"] = facts["recalled"] | (untaught & facts["arm"].isin(["qv", "untrained"]))
        write_frame(run / "facts.parquet", facts, FACTS)
    made = read(runs)
    plan = contrasts.Contrasts(contrasts={"places": [("qv", "ffn")]})
    for name, table in {
        "arms": arms.table(made),
        "controls": controls.table(made),
        "knowledge": knowledge_table.table(made),
        "contrasts": contrasts.table(made, plan),
        "knowledge_contrasts": knowledge_contrasts.table(made, plan),
    }.items():
        files.write_parquet(
            folder / "tables" / f"{name}.parquet", table, table_step.provenance("atlas.tables.arms", made)
        )
    return Tables(folder / "tables")


def test_the_chart_says_what_is_learned_and_what_is_lost(tables, tmp_path):
    run_step("knowledge", tables.folder, tmp_path / "knowledge")
    svg = ending(tmp_path / "knowledge", "svg").read_text()
    kinds = ("unknown before", "against what it knew", "never touched", "known neighbours")
    for words in (*kinds, "after 4 sessions", "after 10 sessions"):
        assert words in svg
    assert not NETWORK.search(ending(tmp_path / "knowledge", "html").read_text())
    rows = knowledge.headline(tables.knowledge)
    (learned,) = knowledge.finding(knowledge.taught(rows, tables))
    assert "known facts still answered: from 0% (ffn) to 100% (qv)" in learned  # not: untrained
    assert learned in svg
    kept = rows["kind"].isin(["untouched", "neighbour"])
    assert set(rows.loc[kept, "metric"]) == {"answered"}
    assert set(rows.loc[~kept, "metric"]) == {"recall"}
    assert not rows.duplicated(["arm", "sessions", "kind"]).any()  # no other probe of the same kind stands in a row


def test_the_section_names_the_place_that_wins_with_its_interval(tables):
    said = parts.comparisons(tables)
    row = tables.contrasts.query("metric == 'recall' and probe == 'taught' and domain == 'all' and sessions == 10")
    assert f"{100 * row['diff'].iloc[0]:+.1f} points" in said
    assert f"{100 * row['ci_low'].iloc[0]:+.1f} to {100 * row['ci_high'].iloc[0]:+.1f}" in said
    assert "qv recalls more than ffn: " in said
    assert "after 10 sessions, 6 seeds" in said


def test_the_section_names_the_place_that_breaks_less(tables):
    recalled, kept = parts.comparisons(tables).split("Which place leaves more of what the model knew")
    assert "leaves" not in recalled
    untouched, neighbours = kept.split("And more of the neighbours that it knew")
    for part in (untouched, neighbours):
        assert part.count("qv leaves more than ffn: ") == 1
    assert "qv leaves more than ffn: 100% against 0%, a difference of +100.0 points" in untouched


def test_the_section_stands_on_the_page_with_all_kinds(tables):
    (shown,) = [part for part in sections.present(tables, {"knowledge": "<svg>"}, {}) if part.picture]
    assert shown.section.heading == "Does it hold in a real model?"
    kinds = parts.knowledge_tables(tables)
    assert kinds.count('<tr data-arm="qv">') == 2  # a table a checkpoint
    assert "Taught against what it knew: recall" in kinds
    assert [figure.name for figure in shown.alive] == ["knowledge"]


def test_the_readme_has_the_same_figures(tables):
    text = readme.real_model(tables.folder.parent)
    assert text.index("**After 4 sessions**") < text.index("**After 10 sessions**")
    (kept,) = tables.knowledge.query(
        "arm == 'qv' and kind == 'untouched' and metric == 'answered' and sessions == 10"
    ).to_dict("records")
    row = next(line for line in text.split("After 10 sessions")[1].splitlines() if line.startswith("| `qv` |"))
    few = ", few seeds" if kept["few_seeds"] else ""
    ends = f"({100 * kept['ci_low']:.0f} to {100 * kept['ci_high']:.0f})"
    assert row.split(" | ")[4] == f"{kept['value']:.1%} {ends}{few}"
    assert "Unknown before, by a paraphrase: recall |" in text
    for heading, sentences in prose.comparisons(tables):
        assert f"**{heading}**\n\n- {sentences[0]}" in text
