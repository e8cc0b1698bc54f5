"""The ledger as a chart and as prose: what is said follows the table, in every state that a claim can be in."""

import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from atlas.charts import claims, findings
from atlas.charts.frame import picture
from atlas.charts.study_tables import Tables
from atlas.metrics import OF_FACTS
from atlas.page import prose
from atlas.tables import claims as ledger_step
from atlas.tables import ledger, table_step
from atlas.tables.columns import CLAIMS
from atlas.workflow import files
from tests.tables.made_claims import AS_PUBLISHED, LOST_BY_FFN, study

NOTHING: dict[str, Any] = {name: float("nan") for name in ("essay_value", "essay_ci_low", "essay_ci_high")}
NOTHING |= {name: float("nan") for name in ("measured", "ci_low", "ci_high", "placebo", "p_value", "p_adjusted")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of tables with the ledger of two arms after 30 sessions, over two seeds."""
    tables: Path = tmp_path_factory.mktemp("tables")
    runs = study(AS_PUBLISHED, {("ffn", 100): LOST_BY_FFN}, arms=("qv", "ffn"), seeds=(1, 2), checkpoints=(30, 100))
    files.write_parquet(tables / "claims.parquet", ledger_step.table(runs), {})
    return tables


def row(metric: str = "recall", **values: Any) -> dict[str, Any]:
    about = {
        "claim_id": "x",
        "preset": "essay",
        "topic": "placement",
        "kind": "order",
        "label": "a ahead of b",
        "statement": "A beats b.",
        **dict.fromkeys(("rule", "verdict_half", "verdict_twice"), ""),
    }
    return {**about, **NOTHING, "metric": metric, "unit": "difference", "n_seeds": 8, "note": "", **values}


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    made: pd.DataFrame = table_step.as_table(list(rows), CLAIMS).to_pandas()
    return made


def under_all(*verdicts: str, **values: Any) -> pd.DataFrame:
    return frame(
        *(row(m, verdict=v, measured=0.1, **values) for m, v in zip(OF_FACTS, verdicts, strict=True)),
    )


def test_the_chart_has_a_row_for_every_claim_on_facts_and_a_column_a_metric(folder):
    spec = picture(claims.charts(Tables(folder))).to_dict()
    shown = {value["label"] for rows in spec["datasets"].values() for value in rows}
    measured_or_printed = Tables(folder).claims.query(
        "metric == 'recall' and (essay_value.notna() or measured.notna())"
    )
    assert shown == set(measured_or_printed["label"])
    assert {value["metric"] for rows in spec["datasets"].values() for value in rows} == set(OF_FACTS)


def test_every_claim_on_facts_of_the_ledger_has_a_heading():
    for claim in ledger.read().all_claims:
        if claim.rule not in ("exact", "not testable"):
            assert claim.topic in claims.HEADINGS["share" if claim.rule == "value" else "difference"]


def test_the_title_counts_the_verdicts(folder):
    title = picture(claims.charts(Tables(folder))).to_dict()["title"]
    rows = Tables(folder).claims.query("metric == 'recall' and (essay_value.notna() or measured.notna())")
    number = rows["verdict"].value_counts()
    tested = len(rows) - number["not testable"]
    assert title["text"][0].startswith(f"Recall: {number['reproduced']} of {tested} claims reproduced")
    assert "2 seeds" in " ".join(title["subtitle"])


def test_a_block_reaches_as_far_as_its_intervals():
    low, high = claims.limits(under_all(*["unresolved"] * 3, ci_low=-0.4, ci_high=0.2, essay_ci_high=0.5), "difference")
    assert low < -0.4
    assert high > 0.5
    assert claims.limits(frame(row()), "difference") == [pytest.approx(-0.0012), pytest.approx(0.0012)]


@pytest.mark.parametrize(
    ("verdicts", "heading"),
    [
        (("reproduced", "reproduced", "reproduced"), "What holds"),
        (("unresolved", "reproduced", "unresolved"), "What holds"),
        (("contradicted", "unresolved", "reproduced"), "What depends on the metric"),
        (("contradicted", "unresolved", "unresolved"), "What does not hold"),
        (("unresolved", "unresolved", "unresolved"), "What cannot be told yet"),
        (("not testable", "not testable", "not testable"), "What this study cannot test"),
    ],
)
def test_a_claim_stands_in_the_section_of_its_verdicts(verdicts, heading):
    assert list(prose.by_outcome(under_all(*verdicts))) == [heading]


def both_presets(essay: str, recall: str) -> pd.DataFrame:
    """The central claim under recall, with one verdict a preset."""
    about: dict[str, Any] = {"claim_id": prose.CENTRAL, "ci_low": -0.02, "ci_high": 0.3}
    return frame(
        row(verdict=essay, measured=0.1, **about),
        row(verdict=recall, measured=0.2, preset="recall", **about),
        row(verdict="unresolved", measured=0.0, claim_id="y"),
    )


@pytest.mark.parametrize(
    ("essay", "recall", "heading"),
    [
        ("reproduced", "contradicted", "What depends on the recipe"),
        ("unresolved", "contradicted", "What does not hold"),
        ("reproduced", "unresolved", "What holds"),
    ],
)
def test_a_claim_may_depend_on_the_recipe(essay, recall, heading):
    assert list(prose.by_outcome(both_presets(essay, recall))) == [heading, "What cannot be told yet"]


def test_a_claim_that_depends_on_the_metric_within_a_preset_does_not_depend_on_the_recipe():
    torn = pd.concat(
        [under_all("reproduced", "contradicted", "unresolved"), frame(row(verdict="unresolved", preset="recall"))]
    )
    assert list(prose.by_outcome(torn)) == ["What depends on the metric"]


def test_the_answer_names_both_presets_where_they_differ():
    central, tallies = prose.answer(both_presets("unresolved", "contradicted"))
    assert central.endswith(
        "is unresolved under recall, +10.0 points (-2.0 to +30.0), with preset essay; "
        "with preset recall contradicted under recall, +20.0 points (-2.0 to +30.0)."
    )
    assert tallies == (
        "Of its 2 claims that can be tested with preset essay, recall reproduces 0 and contradicts 0. "
        "Of its 1 claim that can be tested with preset recall, recall reproduces 0 and contradicts 1."
    )
    same, _ = prose.answer(both_presets("unresolved", "unresolved"))
    assert same.endswith("with preset essay; with preset recall the verdicts are the same.")


def test_an_entry_says_which_preset_its_figures_are_of():
    said = prose.entry(both_presets("unresolved", "contradicted").iloc[:2].to_dict("records"))
    assert "*Preset essay.* Recall: +10.0 points (-2.0 to +30.0), unresolved." in said
    assert "*Preset recall.* Recall: +20.0 points (-2.0 to +30.0), contradicted." in said


def test_the_summary_says_how_far_a_further_preset_reaches():
    said = prose.summary(both_presets("unresolved", "contradicted"))
    assert "Recall with preset essay: 0 of 2 claims reproduced, 0 contradicted, 2 unresolved." in said
    assert "The study has arms of preset recall for 1 of the 2 claims on facts." in said
    assert "Recall with preset recall: 0 of 1 claim reproduced, 1 contradicted, 0 unresolved." in said


def test_the_chart_has_a_further_preset_below_the_claim():
    rows = claims.keyed(both_presets("unresolved", "contradicted"))
    assert rows["key"].tolist() == [prose.CENTRAL, f"{prose.CENTRAL}|recall", "y"]
    assert claims.finding(rows)[1] == "Preset recall, 1 claim, reproduced: recall 0, association 0 and recognition 0"
    assert "below a claim, with preset recall" in claims.rests_on(rows)[-1]


def test_an_entry_has_every_figure_and_says_a_shared_note_once():
    rows = [
        row("recall", verdict="contradicted", measured=-0.064, ci_low=-0.104, ci_high=-0.025, note="few; open"),
        row("association", verdict="unresolved", measured=0.0, ci_low=-0.01, ci_high=0.01, note="open"),
    ]
    rows = [one | {"essay_value": 0.0533, "essay_ci_low": 0.029, "essay_ci_high": 0.085} for one in rows]
    assert prose.entry(rows) == (
        "**A beats b.** Essay: +5.3 points (+2.9 to +8.5). Recall: -6.4 points (-10.4 to -2.5), contradicted (few). "
        "Association: +0.0 points (-1.0 to +1.0), unresolved. Note: open."
    )


def test_an_entry_says_the_rule_and_what_another_margin_makes_of_a_verdict():
    rows = [
        row("recall", verdict="unresolved", measured=0.9, rule="within 3 points of 95%", unit="share", note="few")
        | {"verdict_half": "not testable", "verdict_twice": "contradicted"},
        row("association", verdict="reproduced", measured=0.95, rule="within 3 points of 95%", unit="share")
        | {"verdict_half": "reproduced", "verdict_twice": "reproduced"},
    ]
    assert prose.entry(rows) == (
        "**A beats b.** Reproduced if within 3 points of 95%. Recall: 90.0%, unresolved (not testable at half the "
        "margin; contradicted at twice the margin; few). Association: 95.0%, reproduced."
    )


def test_the_answer_says_by_which_rule():
    central, _ = prose.answer(frame(row(verdict="reproduced", measured=0.1, claim_id=prose.CENTRAL, rule="above 0")))
    assert central.startswith(
        'The essay\'s central claim, "A beats b" (reproduced if above 0), is reproduced under recall'
    )


def test_claims_that_are_not_testable_are_in_no_count():
    rows = [row(verdict="reproduced", measured=0.1), row(verdict="not testable", measured=0.1, claim_id="y")]
    rows += [one | {"preset": "recall"} for one in rows[:1]]
    assert "for 1 of the 1 claim on facts" in prose.summary(frame(*rows))
    assert (
        "Of its 1 claim that can be tested with preset essay"
        in prose.answer(frame(*rows, row(verdict="not testable", claim_id=prose.CENTRAL)))[1]
    )


def test_what_was_not_tested_says_why_once():
    rows = [row(metric, verdict="not testable", note="no such arm") for metric in OF_FACTS]
    assert prose.entry(rows) == "**A beats b.** Not tested: no such arm."


@pytest.mark.parametrize(
    ("value", "low", "high", "unit", "said"),
    [
        (0.989, 0.94, 0.998, "share", "98.9% (94 to 100)"),
        (0.07, None, None, "share", "7.0%"),
        (65536, None, None, "parameters", "65,536 parameters"),
        (2.5, None, None, "multiple", "2.5 times"),
        (0.385, 0.25, 0.52, "slope", "+38.5 points per tenfold of facts (+25.0 to +52.0)"),
        (-0.01, None, None, "spread", "-1.0 points"),
        (None, None, None, "difference", ""),
    ],
)
def test_amounts(value, low, high, unit, said):
    value, low, high = (float("nan") if number is None else number for number in (value, low, high))
    assert findings.amount(value, low, high, unit) == said


def test_comparisons_that_hold_throughout_are_named():
    assert prose.throughout(under_all(*["reproduced"] * 3)).startswith(
        "Comparisons that hold under every metric: a ahead of b."
    )
    assert "fail under every metric: none." in prose.throughout(under_all(*["reproduced"] * 3))


def test_the_page_of_prose_has_every_claim_and_the_rules(folder, tmp_path):
    for again in ("a.md", "b.md"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["prose", "--tables", str(folder), "--out", str(tmp_path / again)])
            prose.main()
    text = (tmp_path / "a.md").read_text()
    assert text == (tmp_path / "b.md").read_text()
    for claim in ledger.read().all_claims:  # of editors, which this study has none of, nothing is said
        assert text.count(f"- **{claim.statement}**") == (claim.topic != "editing")
    assert "Reproduced if within 2.7 points of 94.7%." in text
    assert "corrected for the claims on one topic under one metric" in " ".join(text.split())
    assert not re.search(r"\bnan\b", text)
