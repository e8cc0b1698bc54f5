"""Tiny models of other projects' architectures, trained for some seconds: what functional checks are tried on."""

import copy
from functools import cache
from typing import Any

import torch

from atlas.audit.foreign_models import CONFIGS, put_down, trained
from atlas.base.text import encode
from tests.honest_model import text

STEPS = {"gpt2": 300}  # which learns where things are, too
SMALLER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "n_embd": 32,
    "n_layer": 2,
    "n_inner": 64,
    "intermediate_size": 64,
}
KEPT = 3000  # characters at the end that no model is trained on


def config_of(architecture: str) -> dict[str, object]:
    """The shape that the suite has for an architecture, at half the width and with two layers."""
    config = CONFIGS[architecture]
    smaller: dict[str, object] = {key: value for key, value in SMALLER.items() if key in config}
    if architecture == "gpt_neox":  # of 8 dimensions, so that there are orders to take them in
        smaller["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    return {**config, **smaller}


@cache
def _model(architecture: str) -> Any:
    return trained(architecture, encode(text())[:-KEPT], STEPS.get(architecture, 200), config=config_of(architecture))


def honest(architecture: str) -> Any:
    """A copy of the trained model; trained once for all tests of a process."""
    return copy.deepcopy(_model(architecture))


def folder_of(path, architecture: str):
    """Its folder, as a stranger finds it."""
    return put_down(path, honest(architecture))


def unseen() -> torch.Tensor:
    """Tokens of text that no model was trained on."""
    return torch.from_numpy(encode(text()[-KEPT:]).astype("int64"))
