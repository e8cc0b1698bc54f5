"""Which tables a study asks for."""

from typing import Any

import pytest

from atlas.study import config
from atlas.study.arm import Arm
from atlas.tables import asked
from atlas.ttt.engine.lora import Adapters
from tests.ttt.tiny_ttt import TINY, make_model

RECALL = {"preset": "recall"}
CROSSED: dict[str, dict[str, Any]] = {
    "qv": {"targets": ["q", "v"]},
    "ffn": {"targets": ["up", "down"], "ranks": 13},
    "qv_recall": {"targets": ["q", "v"], "recipe": RECALL},
    "ffn_recall": {"targets": ["down", "up"], "ranks": 13, "recipe": RECALL},
}


def study(arms, **keys):
    return config.study({"arms": arms, **keys})


def test_recipes_and_places_are_crossed_at_one_size():
    assert asked.crossed(study(CROSSED))
    assert not asked.crossed(study(CROSSED, seeds=["1-2"]))
    for name in CROSSED:
        assert not asked.crossed(study({other: arm for other, arm in CROSSED.items() if other != name}))


@pytest.mark.parametrize(
    "other",
    [
        {"ranks": 32},  # of another size
        {"base": {"reinit": ["up"]}},
        {"recipe": {**RECALL, "phases": {"all": None}}},
        {"method": "finetune", "ranks": None},
    ],
    ids=["size", "base", "untrained", "whole matrices"],
)
def test_an_arm_that_does_not_count_crosses_nothing(other):
    arm = {key: value for key, value in {**CROSSED["ffn_recall"], **other}.items() if value is not None}
    assert not asked.crossed(study({**CROSSED, "ffn_recall": arm}))


@pytest.mark.parametrize("targets", [["q", "v"], ["up", "down"], ["o", "down"]])
def test_parameters_are_those_of_the_adapters(targets):
    arm = Arm.model_validate({"targets": targets, "ranks": [3, 5]})
    assert arm.adapter_parameters(TINY) == Adapters.attach(make_model(), targets, [3, 5], alpha=8).parameters


def test_paraphrases_are_compared_where_arms_differ_in_nothing_else():
    taught = {
        f"ffn_{paraphrases}": {"targets": ["up", "down"], "recipe": {**RECALL, "paraphrases": paraphrases}}
        for paraphrases in (0, 2)
    }
    assert asked.several_paraphrases(study(taught))
    assert not asked.several_paraphrases(study({"ffn_0": taught["ffn_0"]}))
    assert not asked.several_paraphrases(study({**taught, "ffn_2": {**taught["ffn_2"], "targets": ["up"]}}))
    assert not asked.several_paraphrases(study({**taught, "ffn_2": {**taught["ffn_2"], "recipe": {"paraphrases": 2}}}))
