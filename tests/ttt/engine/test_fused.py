"""The training pass by hand against the plain model and autograd."""

import pytest
import torch

from atlas.study.jobs import Precision
from atlas.study.settings import Role
from atlas.ttt.engine import fused
from atlas.ttt.engine.lanes import LaneModel, Pull, compute_in
from atlas.ttt.engine.layouts import PackedLines
from atlas.ttt.engine.lines import Batch, ItemTable, Line, line
from atlas.ttt.engine.lora import Adapters
from tests.ttt.tiny_ttt import make_model

CPU = torch.device("cpu")
FACTS = [line(f"The {'long ' * (n % 5)}name of {n} is", "xyz"[: 1 + n % 3], f"fact {n}") for n in range(12)]
MANY = [line(f"{n} is the number of the {'long ' * (n % 3)}house of", "x", f"fact {n}") for n in range(90)]
EVERYWHERE: list[Role] = ["q", "k", "v", "o", "up", "down"]
PLACES: list[list[Role]] = [["q", "v"], ["v"], ["k"], ["o"], ["up"], ["down"], ["up", "down"], EVERYWHERE]


def made(
    targets: list[Role], ranks: list[int], dtype: torch.dtype = torch.float64, precision: Precision = "float32"
) -> Adapters:
    model = make_model().to(dtype)
    compute_in(model, precision)
    return Adapters.attach(model, targets, ranks, alpha=8)


def lines_of(facts: tuple[int, ...], over: str, among: list[Line] = FACTS) -> Batch:
    """A batch of lanes with so many facts each."""
    most = max(facts)
    every = [[among[(3 * lane + i) % len(among)] for i in range(most)] for lane in range(len(facts))]
    keep = torch.tensor([[i < count for i in range(most)] for count in facts])
    items = torch.arange(most).expand(len(facts), -1)
    return PackedLines().batch(ItemTable.of(every, CPU).padded(items, slice(most)), keep, over)


def both_ways(adapters: Adapters, lines: Batch, pulled: tuple[int, ...] = ()) -> list[list[torch.Tensor]]:
    """Likelihoods, logits and gradients of both ways through a model; every token counts otherwise, and for the last
    ones of each lane, so many, distributions stand."""
    draw, lanes = torch.Generator().manual_seed(0), len(lines.lanes)
    dtype = adapters.model.head.dtype
    theta = 0.1 * torch.randn(lanes, adapters.parameters, generator=draw, dtype=dtype)
    counts, found = torch.rand(len(lines.targets), generator=draw, dtype=dtype), []
    chances = torch.rand(sum(pulled), adapters.model.text.symbols, generator=draw, dtype=dtype)
    pull = Pull.last_of(lines, pulled, chances / chances.sum(1, keepdim=True)) if pulled else None
    for descend in (adapters.descend, lambda *given: LaneModel.descend(adapters, *given)):
        grad = torch.ones_like(theta)  # gradients are added to what is there
        adapters.train(theta, grad)
        found.append([*descend(lines, counts, pull), grad])
    return found


def assert_same(found: list[list[torch.Tensor]], tolerance: float) -> None:
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, atol=tolerance, rtol=tolerance)
    assert (found[0][2] != 1).any(), "nothing trained"


@pytest.mark.parametrize("over", ["sentence", "answer"])
@pytest.mark.parametrize("ranks", [[3, 2], [0, 3], [3, 0]], ids=str)
@pytest.mark.parametrize("targets", PLACES, ids="-".join)
def test_wherever_adapters_are(targets, ranks, over):
    assert_same(both_ways(made(targets, ranks), lines_of((3, 2), over)), 1e-10)


@pytest.mark.parametrize("merged", [1, 10**6])
@pytest.mark.parametrize("together", [1, 60, 10**6])
@pytest.mark.parametrize("facts", [(2, 2, 2), (4, 0, 1), (0, 0, 3), (1,)], ids=str)
def test_however_a_batch_is_cut(monkeypatch, facts, together, merged):
    monkeypatch.setattr(fused, "CACHED", together)
    monkeypatch.setattr(fused, "MERGED", merged)
    for over in ("sentence", "answer"):
        assert_same(both_ways(made(EVERYWHERE, [3, 2]), lines_of(facts, over)), 1e-10)


@pytest.mark.parametrize("together", [1, 60, 10**6])
@pytest.mark.parametrize("pulled", [(5, 2, 7), (0, 3, 0)], ids=str)
def test_a_pull_toward_distributions(monkeypatch, pulled, together):
    monkeypatch.setattr(fused, "CACHED", together)
    adapters, lines = made(EVERYWHERE, [3, 2]), lines_of((2, 1, 2), "sentence")
    found = both_ways(adapters, lines, pulled)
    assert_same(found, 1e-10)
    plain = both_ways(adapters, lines)
    torch.testing.assert_close(found[0][0], plain[0][0])  # likelihoods stay those of the tokens
    assert (found[0][2] - plain[0][2]).norm() > 1e-3


def test_a_batch_is_cut_between_lanes_once_a_part_is_large():
    parts = [*fused.parts_of(lines_of((90, 1, 90, 1, 1), "sentence", MANY))]
    assert [part.of for part in parts] == [slice(0, 1), slice(1, 3), slice(3, 5)]
    assert [part.merges for part in parts] == [True, False, False]
    small = lines_of((6, 6, 6), "sentence", MANY)
    assert 500 < sum(small.lanes) < fused.CACHED
    assert [(part.of, part.merges) for part in fused.parts_of(small)] == [(slice(0, 3), False)]


def test_packed_products_of_float32():
    adapters = made(["q", "up"], [3, 2], torch.float32)
    found = both_ways(adapters, lines_of((3, 2), "sentence"))
    assert_same(found, 1e-4)
    layer = adapters._fused.layers[0]  # type: ignore[union-attr]
    assert bool(layer.qkv.product.packed) == torch.backends.mkldnn.is_available()


@pytest.mark.parametrize("merged", [1, 10**6])
def test_products_in_bfloat16_are_those_of_the_plain_model(monkeypatch, merged):
    monkeypatch.setattr(fused, "MERGED", merged)  # nothing is merged: small updates would be rounded away
    found = both_ways(made(["q", "down"], [3, 2], torch.float32, "bfloat16"), lines_of((3, 2), "sentence"))
    for ours, plain in zip(*found, strict=True):
        assert (ours - plain).norm() < 0.02 * plain.norm()
    exact = both_ways(made(["q", "down"], [3, 2], torch.float32), lines_of((3, 2), "sentence"))
    assert (found[0][1] - exact[0][1]).norm() > 1e-4 * exact[0][1].norm()
