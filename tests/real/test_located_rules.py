"""The rules of tables and charts of knock-outs: there where an arm asks to be located, and only there."""

import re

from tests.real.checkout import STUDY

NAMES = ("locate", "locate_by_age", "locate_shares")


def test_what_is_located_has_its_tables_and_charts_and_judges_claims(fresh):
    arms = {**STUDY["arms"], "qv": STUDY["arms"]["qv"] | {"locate": True}}
    fresh.configure(STUDY | {"arms": arms})
    printed = fresh.done("--dry-run", "--printshellcmds", "tables", "charts")
    for name in NAMES:
        assert f"results/charts/{name}.svg" in printed
        (command,) = re.findall(rf"atlas\.tables\.{name} [^'\"]*", printed)
        assert "--runs results/tables/given/located.txt " in command
    (claims,) = re.findall(r"atlas\.tables\.claims [^'\"]*", printed)
    assert "--located results/tables/given/located.txt " in claims
    inputs = re.search(r"rule tables_comparisons:\n +input: (.*)", printed)
    assert inputs
    assert "results/ttt/qv/1-2/knockouts.parquet" in inputs[1]
    assert "results/ttt/ffn/1-2/knockouts.parquet" not in inputs[1]


def test_a_study_that_locates_nothing_plans_none_of_them(fresh):
    printed = fresh.done("--dry-run", "--printshellcmds", "tables", "charts")
    assert "knockouts" not in printed
    assert "--located" not in printed
    assert not any(f"{name}.svg" in printed for name in NAMES)
