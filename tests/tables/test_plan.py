"""What `atlas plan` advises: the number by hand, the line that it says to write, and what it refuses."""

import re
from pathlib import Path

import pytest
import yaml

from atlas.study.config import Study, study
from atlas.tables import decidable, plan
from atlas.tables.intervals import Estimate
from tests.synthetic import Design, arms_like_the_study, write_study

SEEDS = (1, 2, 3, 4)
INTERVAL = {"contrast": ["qv", "ffn"], "metric": "recall", "points": 5}


def planned(folder: Path, **changes: object) -> Study:
    arms = {"qv": {"targets": ["q", "v"]}, "ffn": {"targets": ["up", "down"]}}
    return study(
        {"results": str(folder), "seeds": ["1-4"], "checkpoints": [4], "arms": arms, "interval": INTERVAL} | changes
    )


@pytest.fixture
def results(tmp_path) -> Path:
    arms = {name: arms_like_the_study()[name] for name in ("qv", "ffn")}
    for folder in write_study(tmp_path / "ttt", arms, Design(SEEDS, (4,))):
        folder.rename(folder.with_name("1-4"))
    return Path(tmp_path)


def test_the_number_of_seeds_by_hand():
    diff = Estimate(8, 300, 2400, 0.01, -0.03, 0.05, {}, spread=0.05)
    needed = plan.seeds_needed(diff, 0.02)
    assert needed.number == 27
    assert needed.fewest == 13  # s = 0.0331: t(12) = 2.179, 2.179 x 0.0331 / sqrt(13) = 0.0200
    assert needed.most == 102  # s = 0.1018


def test_the_advice_can_be_followed(results):
    before = planned(results)
    text = plan.advice(before, cores=4)
    entries = yaml.safe_load(re.search(r"write: (seeds: .*)", text)[1])["seeds"]  # type: ignore[index]
    after = planned(results, seeds=entries)
    needed = plan.seeds_needed(plan.difference(before, before.interval), 0.05)  # type: ignore[arg-type]
    assert len(after.all_seeds) == max(needed.number, 6) > 4  # one comparison takes 6 seeds to be decided
    assert after.all_seeds == list(range(1, len(after.all_seeds) + 1))
    assert after.blocks["1-4"] == before.blocks["1-4"]  # so only the new seeds run
    for arm in before.arms:
        assert after.run_spec(arm, "1-4") == before.run_spec(arm, "1-4")


def test_the_cost_is_that_of_the_runs_at_hand(results):
    text = plan.advice(planned(results), cores=4)
    new = int(re.search(r"cost: (\d+) seeds? more, for 2 arms", text)[1])  # type: ignore[index]
    minutes = round(new * 2 * 100 / 60)  # a synthetic run takes 100 seconds a seed
    assert f"{minutes // 60} h {minutes % 60} min of one core" in text or f" {minutes} min of one core" in text


def test_arms_without_runs_count_as_the_others(results):
    more = {name: {"targets": ["q", "v"]} for name in ("qv", "ffn", "third")}
    seconds, missing = plan.seconds_a_seed(planned(results, arms=more))
    assert seconds == pytest.approx(300)
    assert missing == ["third"]
    assert "no finished run yet of third" in plan.advice(planned(results, arms=more), cores=1)


def test_where_the_seeds_are_enough_nothing_is_to_be_added(results):
    six = planned(results, seeds=["1-4", "5-6"], interval=INTERVAL | {"points": 90})
    text = plan.advice(six, cores=1)
    assert "the study has 6 seeds, which is enough: nothing to add" in text
    assert "write:" not in text


def test_an_interval_that_few_seeds_reach_still_takes_the_seeds_of_a_verdict(results):
    family = [["ffn", "qv"], ["qv", "third"]]
    arms = {name: {"targets": ["q", "v"]} for name in ("qv", "ffn", "third")}
    changes = {"interval": INTERVAL | {"points": 90}, "arms": arms, "contrasts": {"one": family}}
    text = plan.advice(planned(results, **changes), cores=1)
    assert re.search(r"needed: [234] seeds", text)
    assert text.startswith("seeds: 4 seeds cannot decide 2 planned comparisons, however large the difference: ")
    assert "for a verdict: at least 6 seeds" in text
    assert 'write: seeds: ["1-4", "5-6"]' in text


def test_a_single_new_seed_is_written_as_one(results):
    assert decidable.more_seeds(planned(results), 5) == ["1-4", 5]
    assert decidable.more_seeds(planned(results), 9) == ["1-4", "5-9"]


def test_an_unfinished_block_is_left_out(results):
    with_new = planned(results, seeds=["1-4", "5-8"])
    assert plan.finished(with_new, with_new.interval) == ["1-4"]  # type: ignore[arg-type]
    assert "at hand: 4 seeds" in plan.advice(with_new, cores=1)


CONTRASTS = {"contrasts": {"one": [["qv", "ffn"]]}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"interval": None}, "interval: null; say how narrow an interval should be"),
        ({"results": "nowhere"}, "nowhere/ttt: fewer than two seeds of qv and ffn are finished"),
    ],
)
def test_what_can_be_decided_is_said_before_anything_has_run(results, changes, said):
    few = plan.advice(planned(results, **CONTRASTS, **changes), cores=1).splitlines()
    assert few[0] == (
        "seeds: 4 seeds cannot decide 1 planned comparison, however large the difference: p cannot fall below 0.125, "
        'and a verdict takes p < 0.05; for verdicts, write seeds: ["1-4", "5-6"]'
    )
    assert few[1] == "base 1: seeds 1-4"
    assert few[2] == (
        "base.replicas: 2, but 1 block of seeds is taught on 1 base, and no other is made; add entries to seeds, lower "
        "lanes, or write base.replicas: 1"
    )
    assert few[3].startswith(said)
    enough = plan.advice(planned(results, seeds=["1-4", "5-6"], **CONTRASTS, **changes), cores=1).splitlines()
    assert enough[0] == "6 seeds can decide 1 planned comparison: p can fall to 0.0312 in a family of any size"
    assert enough[1] == "base 1: seeds 1-4; base 2: seeds 5-6"
    assert enough[2].startswith(said)


def test_without_contrasts_nothing_is_to_be_decided(results):
    assert plan.advice(planned(results, contrasts={}), cores=1).startswith("contrasts: none")
    assert decidable.undecidable(planned(results, contrasts={})) == ""


def test_one_seed_is_too_few(tmp_path):
    arms = {name: arms_like_the_study()[name] for name in ("qv", "ffn")}
    write_study(tmp_path / "ttt", arms, Design((1,), (4,)))
    lines = plan.advice(planned(tmp_path, seeds=[1], **CONTRASTS), cores=1).splitlines()
    assert lines[0].startswith("seeds: 1 seed cannot decide 1 planned comparison, ")
    assert lines[0].endswith('write seeds: [1, "2-6"]')
    assert "fewer than two seeds" in lines[3]
