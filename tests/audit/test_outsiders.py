"""Honest models of other projects' architectures: what a seed makes, and that the guard lets it pass in every dtype."""

import json

import numpy as np
import pytest
import torch

from atlas.audit.audit_columns import HONEST
from atlas.audit.honest import outside
from atlas.audit.outsiders import DTYPES, OUTSIDERS, loss_on, model_type, trained
from atlas.base.text import encode
from atlas.guard.blueprints import ARCHITECTURES
from atlas.study.config import Guard
from tests.honest_model import text


def test_every_architecture_that_the_guard_knows_is_there():
    assert {model_type(kind) for kind in OUTSIDERS} == ARCHITECTURES.keys()


@pytest.mark.parametrize("kind", ["gpt_neox", "qwen2"])
def test_honest_snapshots_give_no_false_alarm_in_any_dtype(kind):
    """The sample of what `snakemake guard` counts in full: two architectures, one seed, two steps, three dtypes."""
    rows = outside(Guard(snapshots=[160, 200]), kind, 0, text())
    assert [(row["step"], row["dtype"]) for row in rows] == [(step, dtype) for step in (160, 200) for dtype in DTYPES]
    assert all(row.keys() == set(HONEST.names) - {"shape"} for row in rows)
    assert [row["failed_file"] for row in rows] == [""] * 6
    assert json.loads(json.dumps(rows))[-1]["val_loss"] < 2.5  # nats a character; 4.6 before


def test_a_seed_makes_the_same_model_and_leaves_the_global_draws_alone():
    tokens, states = encode(text()), []
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    for seed in (0, 0, 1):
        (_, model), *_ = trained("llama", seed, tokens, [2])
        states.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    assert np.isfinite(loss_on(model, tokens))
