"""What the rules of the search hand to their steps."""

import re
import shlex
from typing import Any

import pytest

from atlas.study.jobs import RungSpec
from tests.real.checkout import STUDY

RATES = {"recipe": {"preset": "recall"}, "vary": {"phases.all.lr": [0.001, 0.002]}}
LAYERS = {"methods": ["rome"], "vary": {"layer": [0, 1]}}
SEARCH: dict[str, Any] = {
    "arms": {"qv": {"targets": ["q", "v"], "ranks": 4}, "rome": {"method": "rome", "editing": {"layer": 1}}},
    "sweeps": {"rates": RATES, "layers": LAYERS},
    "rungs": [1],
    "jobs": 1,
}


@pytest.fixture
def adapter(fresh):
    """A folder of an adapter, as far as rules look at it."""
    folder = fresh.root / "an adapter's"
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).touch()
    return folder


def test_the_adapter_that_an_arm_begins_with_is_an_input_and_an_option(fresh, adapter):
    begun = {"targets": ["q"], "start": adapter.name}
    search = {**SEARCH, "arms": {"qv": begun}, "sweeps": {"rates": RATES}}
    fresh.configure(
        STUDY | {"arms": {"mine": begun}, "contrasts": {}, "ablations": {}, "interval": None, "search": search}
    )
    for target in ("results/ttt/mine/1-2/run.json", "search"):
        printed = fresh.done("--dry-run", "--printshellcmds", target)
        assert f"--start {shlex.quote(adapter.name)}" in printed
        assert "an adapter's/adapter_model.safetensors" in printed


@pytest.fixture
def commands(fresh):
    """The command of each arm's job."""
    fresh.configure(STUDY | {"search": SEARCH})
    printed = fresh.done("--dry-run", "--printshellcmds", "search")
    lines = re.findall(r"python -m atlas\.search\..*", printed)
    return {RungSpec.model_validate_json(spec_in(line)).run.arm: line for line in lines}


def spec_in(line):
    found = re.search(r"--spec '(.*?)' --part", line)
    assert found, line
    return found[1]


def test_rules_hand_the_candidates_to_the_step_that_tries_them(commands):
    assert sorted(commands) == ["qv", "rome"]
    assert "-m atlas.search.rung " in commands["qv"]
    assert "--moments" not in commands["qv"]
    assert "-m atlas.search.edit_rung " in commands["rome"]
    assert "--moments results/ttt/covariance-1.safetensors " in commands["rome"]


def test_a_value_that_is_a_default_is_not_taken_for_the_presets(commands):
    spec = RungSpec.model_validate_json(spec_in(commands["qv"]))
    phases = [spec.trial(name).recipe.phases["all"] for name in ("rates_0", "rates_1")]
    assert [phase and phase.lr for phase in phases] == [0.001, 0.002]
    spec = RungSpec.model_validate_json(spec_in(commands["rome"]))
    assert [spec.trial(name).ranks for name in ("layers_0", "layers_1")] == [[32, 0], [0, 32]]
