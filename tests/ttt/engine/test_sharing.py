"""Lines that begin alike share rows, and score as each does by itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.ttt.engine.lines import Batch, Line, batch, line
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.engine.sharing import NO_TOKEN, shared
from tests.ttt.tiny_ttt import make_model

CPU = torch.device("cpu")
LANES = [
    [line(f"The {kind} of the {'old ' * i}gate is", f"K{i}", "t") for i in (0, 1, 2) for kind in ("key", "keep")],
    [line("The key of the gate is", "K7", "t"), line("Who?", "Me", "t"), line("Who?", "Me", "t")],
]


def sharing(lanes: list[list[Line]]) -> Batch:
    """A batch of these lines in which they share what they can."""
    lines = [item for lane in lanes for item in lane]
    tokens = np.full((len(lines), max(item.predicted for item in lines)), NO_TOKEN)
    for row, item in zip(tokens, lines, strict=True):
        row[: item.predicted] = item.tokens[:-1]
    return shared(batch(lanes, CPU), tokens, np.repeat(np.arange(len(lanes)), [len(lane) for lane in lanes]))


def test_every_token_has_the_logits_that_it_has_alone():
    adapters = Adapters.attach(make_model(), ["q", "up"], [2, 2], 2)
    adapters.bind(0.1 * torch.randn(2, adapters.parameters, generator=torch.Generator().manual_seed(0)))
    with torch.inference_mode():
        lines, plain = sharing(LANES), batch(LANES, CPU)
        torch.testing.assert_close(adapters.nll(lines), adapters.nll(plain), atol=1e-5, rtol=1e-5)
    assert torch.equal(lines.targets, plain.targets)
    assert sum(lines.lanes) < 0.8 * sum(plain.lanes)


lanes_of_lines = st.lists(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=6), max_size=5), min_size=1).filter(
    any
)


@given(lanes_of_lines)
@settings(max_examples=60)
def test_lines_of_a_lane_share_what_they_begin_with_and_nothing_else(given_lanes):
    lanes = [[Line(np.array(tokens, np.uint8), 1) for tokens in lane] for lane in given_lanes]
    lines = sharing(lanes)
    beginnings = [
        (number, tuple(tokens[: end + 1]))
        for number, lane in enumerate(given_lanes)
        for tokens in lane
        for end in range(len(tokens) - 1)
    ]
    row_of: dict[int, tuple[int, tuple[int, ...]]] = {}
    for row, beginning in zip(lines.outputs.tolist(), beginnings, strict=True):
        assert row_of.setdefault(row, beginning) == beginning
    assert len(row_of) == len(set(beginnings)) == len(lines.tokens) == sum(lines.lanes)
    assert [lines.tokens[row].item() for row in sorted(row_of)] == [row_of[row][1][-1] for row in sorted(row_of)]
    assert [row_of[row][0] for row in sorted(row_of)] == sorted(number for number, _ in row_of.values())
    for number, size in enumerate(lines.lanes):
        assert size == sum(owner == number for owner, _ in row_of.values())


@pytest.mark.parametrize("lane", [0, 1])
def test_a_lane_alone_has_the_same_rows(lane):
    alone = sharing([some if at == lane else [] for at, some in enumerate(LANES)])
    assert alone.lanes[lane] == sharing(LANES).lanes[lane]
