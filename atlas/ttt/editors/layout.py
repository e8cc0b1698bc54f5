"""Requests of all lanes as one packed batch, and where in it the tokens are that editors read and write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from atlas.ttt.editors.requests import Request
from atlas.ttt.engine.lines import Batch, batch

TOKENS_PER_PASS = {"cpu": 4096, "cuda": 1 << 17}  # a processor's caches hold the activations; a GPU wants more


@dataclass(frozen=True)
class Layout:
    """A batch of requests, lane after lane. A request has keys, and each key a token in each of the request's lines.

    Attributes:
        lines: all lines of all requests; a request's essence prompt is the last of its lines.
        facts, keys: how many requests and keys there are.
        lane_keys: keys of each lane.
        lane_of_fact: int64, (facts,).
        fact_of_key: int64, (keys,).
        fact_of_line: int64, (lines,).
        essence: bool, (lines,): which lines are essence prompts.
        read, key_of_read: int64, (n,): the keys' tokens in sentences, and the key of each.
        alone: int64, (keys,): each key's token in the sentence without a text in front.
        written, key_of_written: int64, (n,): ``read`` and the keys' tokens in essence prompts, and the key of each.
        continued, fact_of_continued: int64, (n,): tokens of essence prompts from the first key on, and their facts.
    """

    lines: Batch
    facts: int
    keys: int
    lane_keys: tuple[int, ...]
    lane_of_fact: Tensor
    fact_of_key: Tensor
    fact_of_line: Tensor
    essence: Tensor
    read: Tensor
    key_of_read: Tensor
    alone: Tensor
    written: Tensor
    key_of_written: Tensor
    continued: Tensor
    fact_of_continued: Tensor

    def mean_of_keys(self, rows: Tensor) -> Tensor:
        """Means over each key's tokens in sentences, (keys, width), from rows of all tokens, (tokens, width)."""
        sums = rows.new_zeros(self.keys, rows.shape[1]).index_add_(0, self.key_of_read, rows[self.read])
        return sums / torch.bincount(self.key_of_read, minlength=self.keys)[:, None]

    def mean_of_facts(self, values: Tensor, owners: Tensor) -> Tensor:
        """Means over what belongs to each fact, (facts,), from values and the facts they belong to; 0 where none do."""
        sums = values.new_zeros(self.facts).index_add(0, owners, values)
        return sums / torch.bincount(owners, minlength=self.facts).clamp(min=1)

    def mean_over_lines(self, values: Tensor, which: Tensor) -> Tensor:
        """Means over some of each fact's lines, (facts,), from values of all lines."""
        return self.mean_of_facts(values[which], self.fact_of_line[which])


@dataclass
class _Gathered:
    """What ``lay_out`` gathers, request by request; each list has index arrays that are joined in the end."""

    fact_of_key: list[np.ndarray] = field(default_factory=list)
    fact_of_line: list[np.ndarray] = field(default_factory=list)
    essence: list[np.ndarray] = field(default_factory=list)
    read: list[np.ndarray] = field(default_factory=list)
    key_of_read: list[np.ndarray] = field(default_factory=list)
    alone: list[np.ndarray] = field(default_factory=list)
    also_written: list[np.ndarray] = field(default_factory=list)
    key_of_also_written: list[np.ndarray] = field(default_factory=list)
    continued: list[np.ndarray] = field(default_factory=list)
    fact_of_continued: list[np.ndarray] = field(default_factory=list)

    def add(self, fact: int, item: Request, first_key: int, starts: np.ndarray) -> None:
        """Gather a request's tokens; ``starts`` are the first tokens of its lines, (all lines,)."""
        keys = np.arange(first_key, first_key + item.keys)
        sentences = len(item.lines)
        self.fact_of_key.append(np.full(item.keys, fact))
        self.fact_of_line.append(np.full(len(starts), fact))
        self.essence.append(np.arange(len(starts)) >= sentences)
        self.read.append((starts[:sentences, None] + item.places).ravel())
        self.key_of_read.append(np.tile(keys, sentences))
        self.alone.append(starts[0] + item.places[0])
        for line, start in zip(item.essences, starts[sentences:], strict=True):
            self.also_written.append(start + item.essence_places)
            self.key_of_also_written.append(keys)
            self.continued.append(np.arange(start + item.essence_places.min(), start + line.predicted))
            self.fact_of_continued.append(np.full(len(self.continued[-1]), fact))


def lay_out(lanes: Sequence[Sequence[Request]], device: torch.device) -> Layout:
    """Lay out the requests of every lane; a lane may have none, but not all of them."""
    asked = [item for lane in lanes for item in lane]
    lines = batch([[line for item in lane for line in item.all_lines] for lane in lanes], device)
    starts = (torch.cumsum(lines.lengths, 0) - lines.lengths).cpu().numpy()
    first_lines = np.cumsum([0, *(len(item.all_lines) for item in asked)])
    first_keys = np.cumsum([0, *(item.keys for item in asked)])
    found = _Gathered()
    for i, item in enumerate(asked):
        found.add(i, item, int(first_keys[i]), starts[first_lines[i] : first_lines[i + 1]])

    def joined(*parts: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate([np.arange(0), *(one for part in parts for one in part)])).to(device)

    return Layout(
        lines=lines,
        facts=len(asked),
        keys=int(first_keys[-1]),
        lane_keys=tuple(sum(item.keys for item in lane) for lane in lanes),
        lane_of_fact=joined([np.repeat(np.arange(len(lanes)), [len(lane) for lane in lanes])]),
        fact_of_key=joined(found.fact_of_key),
        fact_of_line=joined(found.fact_of_line),
        essence=joined(found.essence).bool(),
        read=joined(found.read),
        key_of_read=joined(found.key_of_read),
        alone=joined(found.alone),
        written=joined(found.read, found.also_written),
        key_of_written=joined(found.key_of_read, found.key_of_also_written),
        continued=joined(found.continued),
        fact_of_continued=joined(found.fact_of_continued),
    )


def in_passes(lanes: Sequence[Sequence[Request]], device: torch.device) -> Iterator[list[list[Request]]]:
    """Cut the requests of all lanes into passes that fill the processor, in order: lane after lane."""
    part: list[list[Request]] = [[] for _ in lanes]
    size = 0
    for index, lane in enumerate(lanes):
        for item in lane:
            if size and size + item.characters > TOKENS_PER_PASS[device.type]:
                yield part
                part, size = [[] for _ in lanes], 0
            part[index].append(item)
            size += item.characters
    if size:
        yield part


def by_lane(rows: Tensor, layouts: Sequence[Layout]) -> tuple[Tensor, ...]:
    """The rows of each lane's keys, from the rows of all layouts' keys behind one another."""
    return torch.split(rows, [sum(sizes) for sizes in zip(*(layout.lane_keys for layout in layouts), strict=True)])
