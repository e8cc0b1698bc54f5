"""The claims on where facts sit: judged by knock-outs of adapters whose facts were planted."""

from dataclasses import replace

import pandas as pd
import pytest

from atlas.tables import claims, knockouts, ledger
from atlas.tables.knockouts import Knockouts
from atlas.tables.runs import Runs, read
from tests.made_located import EVERYWHERE, Home, planted, rows_of, write_located
from tests.synthetic import Design, SyntheticArm, write_study

RECALL = {"preset": "recall", "phases": {"all": {"steps": 2}}}
OWN = ("facts_in_the_middle", "facts_not_in_ffn", "facts_not_outside")
SESSIONS = 6
ARMS = {"qv_ffn": EVERYWHERE, "all_recall": replace(EVERYWHERE, recipe=RECALL), "qv": SyntheticArm()}
MIDDLE, OUTER, FFN = (1, 1, "v"), (0, 0, "q"), (2, 2, "up")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    design = Design(seeds=tuple(range(1, 9)), checkpoints=(SESSIONS,))
    return read(write_study(tmp_path_factory.mktemp("runs"), ARMS, design))


@pytest.fixture(scope="module", autouse=True)
def book():
    """The ledger's claims on where facts sit, asked after as many sessions as these studies have."""
    whole = ledger.read()
    own = [one.model_copy(update={"sessions": SESSIONS}) for one in whole.claims if one.id in OWN]
    assert [one.id for one in own] == [*OWN]
    return whole.model_copy(update={"claims": own})


def located(runs: Runs, home: Home, *arms: str) -> Knockouts:
    records = tuple(record for record in runs.records if record.arm in arms)
    some = Runs(tuple(runs.folder(record.arm, 1) for record in records), records)
    return Knockouts(pd.concat([rows_of(record, home) for record in records]), some)


def judged(book, runs, found) -> pd.DataFrame:
    judged = claims.judge(book, runs, located=found)
    frame: pd.DataFrame = claims.rows_of([one for one in judged if one.claim.id in OWN], book, runs).to_pandas()
    return frame


def verdicts_of(book, runs, home: Home) -> dict[str, str]:
    frame = judged(book, runs, located(runs, home, "qv_ffn"))
    recall = frame[frame["metric"] == "recall"]
    return dict(zip(recall["claim_id"], recall["verdict"], strict=True))


@pytest.mark.parametrize(
    ("home", "said"),
    [
        (planted(MIDDLE), ("reproduced", "reproduced", "reproduced")),
        (planted(OUTER), ("contradicted", "reproduced", "contradicted")),
        (planted(FFN), ("unresolved", "contradicted", "reproduced")),
        (planted(None), ("unresolved", "contradicted", "contradicted")),  # each slot is needed
        (planted(MIDDLE, FFN, until=1), ("reproduced", "unresolved", "reproduced")),  # a sixth: the interval is wide
        (planted(MIDDLE, FFN, until=3), ("reproduced", "contradicted", "reproduced")),
    ],
)
def test_where_facts_were_planted_decides_the_verdicts(book, runs, home, said):
    assert tuple(verdicts_of(book, runs, home).values()) == said


def test_figures_by_hand(book, runs):
    """The facts of three sessions of six lie in an outer layer's queries, those of the others in a middle one's values:
    outer layers lose half of the former on average, and of slots of attention one in four loses them."""
    found = located(runs, planted(MIDDLE, OUTER, until=3), "qv_ffn")
    rows = judged(book, runs, found).query("metric == 'recall'").set_index("claim_id")
    known = found.rows[(found.rows["change"] == "intact") & (found.rows["probe"] == "taught")]
    share = known.assign(old=known["session_taught"] <= 3).groupby("old")["recalled"].sum() / known["facts"].sum()
    assert rows.loc["facts_not_outside", "measured"] == pytest.approx(-share[True] / 2)
    assert rows.loc["facts_in_the_middle", "measured"] == pytest.approx((share[False] - share[True]) / 4)
    assert rows.loc["facts_not_in_ffn", "measured"] == 0
    assert rows["margin"].dropna().tolist() == pytest.approx([share.sum() / 4] * 2)
    note = str(rows.loc["facts_not_in_ffn", "note"])
    assert note.startswith(
        f"recall lost without the feed-forward half 0.0%, without the attention half {share.sum():.1%}"
    )
    assert f"qv_ffn retains {share.sum():.1%}, so {25 * share.sum():.2g} points" in note
    assert rows.loc["facts_not_in_ffn", "rule"] == (
        "at most 25% of what the adapter retains is lost without the feed-forward half"
    )
    assert rows.loc["facts_in_the_middle", "rule"] == (
        "more is lost without an attention slot of a middle layer than without an attention slot of an outer layer, "
        "p < 0.05"
    )


def test_each_preset_is_judged_on_its_own_arm(book, runs):
    home = {"qv_ffn": MIDDLE, "all_recall": FFN}
    found = [located(runs, planted(at), arm) for arm, at in home.items()]
    both = Knockouts(pd.concat([one.rows for one in found]), located(runs, planted(None), *home).runs)
    rows = judged(book, runs, both).query("metric == 'recall' and claim_id == 'facts_not_in_ffn'")
    assert rows[["preset", "arms", "verdict"]].to_numpy().tolist() == [
        ["essay", "qv_ffn", "reproduced"],
        ["recall", "all_recall", "contradicted"],
    ]


def test_association_is_judged_and_recognition_is_not_measured(book, runs):
    frame = judged(book, runs, located(runs, planted(FFN), "qv_ffn")).query("claim_id == 'facts_not_in_ffn'")
    rows = frame.set_index("metric")
    assert rows["verdict"].to_dict() == {
        "recall": "contradicted",
        "association": "contradicted",
        "recognition": "not testable",
    }
    assert rows.loc["recognition", "note"] == "knock-outs do not measure recognition"


@pytest.mark.parametrize(
    ("arms", "sessions", "said"),
    [
        ((), SESSIONS, "the study locates no arm over all places (qv_ffn and all_recall)"),
        (("qv",), SESSIONS, "the study locates no arm over all places (qv_ffn and all_recall)"),
        (("qv_ffn",), 100, "the study locates 'qv_ffn' after 6 sessions, not 100"),
    ],
)
def test_what_a_study_lacks_is_not_testable(book, runs, arms, sessions, said):
    asked = [one.model_copy(update={"sessions": sessions}) for one in book.claims]
    found = located(runs, planted(FFN), *arms) if arms else None
    frame = judged(book.model_copy(update={"claims": asked}), runs, found)
    assert set(frame["verdict"]) == {"not testable"}
    assert set(frame.loc[frame["metric"] == "recall", "note"]) == {said}


def test_an_arm_without_feed_forward_adapters_says_nothing_of_them(book, runs):
    asked = [one.model_copy(update={"arms": ["qv"]}) for one in book.claims]
    frame = judged(book.model_copy(update={"claims": asked}), runs, located(runs, planted(MIDDLE), "qv"))
    rows = frame.query("metric == 'recall'").set_index("claim_id")
    assert rows["verdict"].tolist() == ["reproduced", "not testable", "reproduced"]
    assert rows.loc["facts_not_in_ffn", "note"] == "'qv' has no part that is the feed-forward half"


def test_a_quarter_of_the_depth_at_either_end_is_outside(runs):
    """Layers joined to groups belong where their middle lies."""
    record = runs.first("qv_ffn").model_copy(update={"ranks": [7] * 30})
    deep = Runs((), (record.model_copy(update={"seeds": [1]}),))
    for groups, outer in ((6, 2), (30, 14), (3, 2), (2, 0)):
        found = Knockouts(rows_of(deep.records[0], planted(None), groups), deep)
        assert len(found.lost_without(ledger.Where(layers="outer"), "qv_ffn", "recall")) == outer
        middle = found.lost_without(ledger.Where(layers="middle", half="attention"), "qv_ffn", "recall")
        assert len(middle) == 2 * (groups - outer)


def test_the_step_takes_the_runs_that_are_located(runs, tmp_path, monkeypatch):
    folder = write_located(runs.folder("qv_ffn", 1), planted(MIDDLE))
    given = ["--runs", *map(str, runs.folders), "--located", str(folder), "--out", str(tmp_path / "claims.parquet")]
    monkeypatch.setattr("sys.argv", ["claims", *given])
    claims.main()
    table = pd.read_parquet(tmp_path / "claims.parquet").query("claim_id == 'facts_not_in_ffn' and metric == 'recall'")
    assert table["note"].tolist() == ["the study locates 'qv_ffn' after 6 sessions, not 100"]
    assert knockouts.read(read([folder])).arms == ["qv_ffn"]
