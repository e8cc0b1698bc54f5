"""What the rules of the search hand to their steps."""

import re
import shlex
from typing import Any

import pytest

from atlas.study.jobs import RungSpec
from tests.real.checkout import STUDY

RATES = {"recipe": {"preset": "recall"}, "rates": [0.001, 0.002, 0.004, 0.008]}
LAYERS = {"methods": ["rome"], "vary": {"layer": [0, 1], "value.clamp": [1, 4]}}
SEARCH: dict[str, Any] = {
    "arms": {"qv": {"targets": ["q", "v"], "ranks": 4}, "rome": {"method": "rome", "editing": {"layer": 1}}},
    "sweeps": {"rates": RATES, "layers": LAYERS},
    "rungs": [1],
    "rounds": 1,
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
    specs = [(RungSpec.model_validate_json(spec_in(line)), line) for line in lines]
    return {f"{spec.run.arm} {spec.round}": line for spec, line in specs}


def spec_in(line):
    found = re.search(r"--spec '(.*?)' --part", line)
    assert found, line
    return found[1]


def test_rules_hand_the_candidates_to_the_step_that_tries_them(commands):
    assert sorted(commands) == ["qv 0", "qv 1", "rome 0"]  # an editor has no rates, so nothing to close
    assert "-m atlas.search.rung " in commands["qv 0"]
    assert "--moments" not in commands["qv 0"]
    assert "-m atlas.search.edit_rung " in commands["rome 0"]
    assert "--moments results/ttt/covariance-1.safetensors " in commands["rome 0"]
    assert "--previous" not in commands["qv 0"]
    assert "--previous results/search/qv/0-0.parquet " in commands["qv 1"]


def test_a_value_that_is_a_default_is_not_taken_for_the_presets(commands):
    spec = RungSpec.model_validate_json(spec_in(commands["qv 0"]))
    assert [spec.trial(*one).recipe.active["all"].lr for one in spec.candidates] == RATES["rates"]
    spec = RungSpec.model_validate_json(spec_in(commands["rome 0"]))
    assert [spec.trial(*one).ranks for one in spec.candidates] == [[32, 0]] * 2 + [[0, 32]] * 2
