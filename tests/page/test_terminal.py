"""``atlas show`` and ``atlas compare``: the tables in the terminal, and two arms in words."""

import io
import re
import subprocess
import sys

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from atlas import cli
from atlas.charts import retention
from atlas.charts.study_tables import Tables
from atlas.errors import AtlasError
from atlas.page import terminal
from atlas.page.terminal import Aspect, Choice
from atlas.tables.columns import SPEEDRUN
from atlas.ttt.run_files import PROBES
from tests.charts.made_tables import make_tables
from tests.synthetic import Design, arms_like_the_study


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Eight seeds of three arms, compared in a ring but for ffn with untrained, which is left unplanned."""
    arms = {name: arm for name, arm in arms_like_the_study().items() if name in ("qv", "ffn", "untrained")}
    folder = tmp_path_factory.mktemp("study")
    make_tables(folder, arms, Design(seeds=tuple(range(1, 9)), checkpoints=(4, 10)))
    path = folder / "tables" / "contrasts.parquet"
    pq.write_table(pq.read_table(path).filter(pc.field("arm_a") != "ffn"), path)
    return folder


def printed(frame, title="retention", width=200) -> str:
    text = io.StringIO()
    terminal.show(frame, title, Console(file=text, width=width))
    return text.getvalue()


def test_rows_are_chosen_by_value_and_domains_are_joined_by_default(results):
    folder = results / "tables"
    frame = terminal.rows(folder, "retention", Choice(arm=["qv"], metric=["recall"], sessions=[10]))
    assert set(frame["domain"]) == {"all"}
    assert set(frame["probe"]) == {"taught", "rephrase", "placebo"}
    whole = Tables(folder).retention
    kept = whole.query("arm == 'qv' and metric == 'recall' and sessions == 10 and domain == 'all'")
    assert list(frame["value"]) == list(kept["value"])
    assert set(terminal.rows(folder, "retention", Choice(domain=["codes"]))["domain"]) == {"codes"}
    assert set(terminal.rows(folder, "curve", Choice(sessions=[3]))["session"]) == {3}


def test_a_pair_is_shown_with_either_arm(results):
    frame = terminal.rows(results / "tables", "contrasts", Choice(arm=["qv"]))
    assert set(frame["arm_a"]) == {"qv", "untrained"}
    assert ((frame["arm_a"] == "qv") | (frame["arm_b"] == "qv")).all()


def test_what_is_the_same_everywhere_stands_above_the_table(results):
    text = printed(terminal.rows(results / "tables", "retention", Choice(metric=["recall"], sessions=[10])))
    title, *rest = text.splitlines()
    assert "metric: recall" in title
    assert "sessions: 10" in title
    assert not any("recall" in line for line in rest)
    assert re.search(r"qv .*taught .*\d+\.\d% .*\d+\.\d% to \d+\.\d%", text)


def test_every_probe_has_words_wherever_it_is_named():
    for named in (cli.PROBES, terminal.PROBE_WORDS, retention.SERIES):
        assert sorted(named) == sorted(PROBES)


def test_every_table_can_be_printed(results):
    for name in terminal.names(results / "tables"):
        assert not re.search(r"\bnan\b", printed(terminal.rows(results / "tables", name, Choice()).head(20), name))


@pytest.mark.parametrize(
    ("table", "choice", "message"),
    [
        ("nowhere", Choice(), "no table 'nowhere'; it has arms, "),
        ("retention", Choice(arm=["vq"]), "--arm vq: not in table retention; it has ffn, qv, untrained"),
        ("arms", Choice(metric=["recall"]), "--metric: table arms has no column 'metric'"),
        ("retention", Choice(sessions=[7]), "--sessions 7: not in table retention; it has 4, 10"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(results, table, choice, message):
    with pytest.raises(AtlasError, match=re.escape(message)):
        terminal.rows(results / "tables", table, choice)


def test_a_folder_without_tables_says_how_to_make_them(tmp_path):
    with pytest.raises(AtlasError, match="no tables; make them by running `snakemake tables`"):
        terminal.names(tmp_path)


def test_a_planned_pair_is_told_from_the_table_either_way_round(results):
    rows = Tables(results / "tables").contrasts
    row = rows.query(
        "arm_a == 'qv' and sessions == 10 and probe == 'taught' and metric == 'recall' and domain == 'all'"
    ).iloc[0]
    text = terminal.compare(results, "qv", "ffn", Aspect())
    assert f"qv less ffn: {100 * row['diff']:+.1f} points" in text
    assert f"{100 * row['ci_low']:+.1f} to {100 * row['ci_high']:+.1f}, paired over 8 seeds of 30 facts" in text
    assert "Planned: family around" in text
    mixed = "The two arms differ in place and size; which of these the difference comes from, this pair cannot tell."
    assert mixed in text
    turned = terminal.compare(results, "ffn", "qv", Aspect())
    assert mixed in turned
    assert f"ffn less qv: {-100 * row['diff']:+.1f} points" in turned
    assert f"{-100 * row['ci_high']:+.1f} to {-100 * row['ci_low']:+.1f}" in turned


def test_an_unplanned_pair_is_worked_out_from_the_runs_and_said_to_be(results):
    text = terminal.compare(results, "ffn", "untrained", Aspect(metric="recognition"))
    assert "Verdict: ffn is above untrained, p = 0.0078 in the sign-flip test over seeds" in text
    assert "Not planned: " in text
    assert "The two arms differ in teaching.\n" in text
    assert "Few seeds carry the figure of one of the two, or none does" in text  # untrained recognises nothing
    assert "Few seeds" not in terminal.compare(results, "qv", "ffn", Aspect())


@pytest.mark.parametrize(
    ("pair", "wanted", "message"),
    [
        (("qv", "vq"), Aspect(), "no runs of arm 'vq'; it has runs of ffn, qv, untrained"),
        (
            ("qv", "ffn"),
            Aspect(sessions=7),
            "--sessions 7: not among the comparisons of these arms; they have 4, 10",
        ),
        (("qv", "ffn"), Aspect(domain="poetry"), "--domain poetry: not among"),
    ],
)
def test_what_cannot_be_compared_is_named(results, pair, wanted, message):
    with pytest.raises(AtlasError, match=re.escape(message)):
        terminal.compare(results, pair[0], pair[1], wanted)


def test_a_single_session_is_one_session(results):
    row = Tables(results / "tables").contrasts.iloc[0].to_dict() | {"sessions": 1, "n_seeds": 1, "n_facts": 1}
    said = " ".join(terminal.in_words(row, planned=True))
    assert "after 1 session: " in said
    assert "paired over 1 seed of 1 fact." in said


def test_the_terminal_waits_for_no_library_that_draws():
    code = (
        "import sys; from atlas.page import terminal; sys.exit('altair' in sys.modules or 'vl_convert' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_speedrun_is_printed_with_whole_seconds_and_its_commit_once():
    row = {"arm": "ffn", "recipe": "recall", "targets": "up,down", "ranks": "32", "trainable_params": 163840}
    row |= {"sessions": 100, "n_seeds": 8, "n_facts": 300, "recall": 0.9917, "ci_low": 0.985, "ci_high": 0.996}
    row |= {"qualifies": True, "core_seconds": 12345.6, "characters": 4_000_000, "commit": "abc"}
    rows = [row, row | {"arm": "qv", "recall": 0.5, "core_seconds": 99.9, "qualifies": False}]
    said = printed(pd.DataFrame(rows, columns=SPEEDRUN.names))
    assert "commit: abc" in said
    assert re.search(r"ffn.* 99\.2%.* 98\.5% to 99\.6%.*yes.* 12,346 ", said)
    assert re.search(r"qv.* 50\.0%.* no .* 100 ", said)


def test_the_kind_of_a_fact_is_shown_and_that_of_a_claim_is_not():
    row = {"kind": "untouched", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    for more, there in (({"arm": "qv"}, True), ({"claim_id": "c1"}, False)):
        console = Console(record=True, width=120)
        terminal.show(pd.DataFrame([row | more, row | more | {"kind": "unknown"}]), "table", console)
        assert ("untouched" in console.export_text()) == there
