"""Optimisers that leave PyTorch's compiler alone take the very steps of PyTorch's own."""

import subprocess
import sys

import pytest
import torch

from atlas.base import optimisers

PLAIN = """
import sys
import torch
from atlas.base.checkpoint import empty_model
from atlas.base.pretrain import train
from atlas.study.base_settings import Base
base = Base(model={"layers": 1, "width": 8, "heads": 2, "ffn": 8, "context": 16}, training={"steps": 2, "batch": 2})
train(base, torch.arange(96, dtype=torch.uint8).numpy())
empty_model(base, None)
print([name for name in ("torch._dynamo", "sympy", "pandas", "unearth") if name in sys.modules])
"""


def test_a_base_is_trained_and_read_without_the_compiler():
    done = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Adam", {"lr": 0.1, "betas": (0.9, 0.95), "fused": True}),
        ("Adam", {"lr": 0.1}),
        ("AdamW", {"lr": 0.1, "weight_decay": 0.1, "fused": True}),
    ],
)
def test_steps_are_those_of_pytorch(kind, settings):
    found = []
    for module in (torch.optim, optimisers):
        weights = torch.linspace(-1, 1, 12).requires_grad_()
        optimiser = getattr(module, kind)([weights], **settings)
        for _ in range(3):
            torch.autograd.backward((weights**4).sum())
            optimiser.step()
            optimiser.zero_grad()
            assert weights.grad is None
        found.append(weights.detach())
    assert torch.equal(*found)
    assert not torch.equal(found[0], torch.linspace(-1, 1, 12))
