"""The loss of a step: facts of all lanes, and beside them windows of the base's text, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.ttt.engine.lines import Batch, Line, batch
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.engine.scoring import LineScores, character_nll, line_scores


@dataclass(frozen=True)
class Loss:
    """What a pass found, with a graph.

    Attributes:
        total: (lanes,): mean nats per character over a lane's facts, and the weighted mean over its text.
        facts: (lanes,): the first of the two, without a graph; 0 where a lane had no facts.
        lines: the batch; ``of_facts``, bool (lines,), says which of its lines are facts.
        characters: int64, (lanes,): that the loss was taken over.
    """

    total: Tensor
    facts: Tensor
    lines: Batch
    of_facts: np.ndarray
    characters: np.ndarray
    nll: Tensor
    logits: Tensor

    def scores(self) -> LineScores:
        """Scores of the facts, lane after lane."""
        found = line_scores(self.lines, self.nll.detach(), self.logits.detach())
        parts = found.nll, found.answer_nll, found.recalled, found.answered, found.worst
        return LineScores(*(part[self.of_facts] for part in parts))


def loss(
    adapters: Adapters,
    facts: Sequence[Sequence[Line]],
    text: Sequence[Sequence[Line]],
    over: str,
    weight: float,
    even: bool,
    device: torch.device,
) -> Loss:
    """Run facts and text of every lane.

    Args:
        adapters: bound to what is trained.
        facts, text: lines of each lane; a lane may have none.
        over: ``sentence`` or ``answer``: the characters of facts that count. All of a text's do.
        weight: of the mean over the text.
        even: see ``atlas.ttt.engine.lines.batch``.
    """
    counts = _counts(facts, over), _counts(text, "sentence")
    asked = [[*lane, *more] for lane, more in zip(*counts, strict=True)] if over == "answer" else None
    lines = batch([[*lane, *more] for lane, more in zip(facts, text, strict=True)], device, even, asked)
    nll, logits = character_nll(adapters, lines)
    shares, owners, of_facts = _shares(*counts, weight)
    counted = nll * lines.answers if over == "answer" else nll
    sums = lines.line_sums(counted)[torch.from_numpy(lines.real).to(device)] * torch.from_numpy(shares).to(nll)
    into = torch.from_numpy(owners).to(device)
    total = nll.new_zeros(len(facts)).index_add(0, into, sums)
    alone = sums.detach() * torch.from_numpy(of_facts).to(device)
    characters = np.array([sum(a) + sum(b) for a, b in zip(*counts, strict=True)])
    places = np.flatnonzero(lines.real)[of_facts]
    return Loss(total, nll.new_zeros(len(facts)).index_add(0, into, alone), lines, places, characters, nll, logits)


def _counts(lanes: Sequence[Sequence[Line]], over: str) -> list[list[int]]:
    return [[one.counted(over) for one in lane] for lane in lanes]


def _shares(
    facts: Sequence[Sequence[int]], text: Sequence[Sequence[int]], weight: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each line, lane after lane: what a character of it counts in its lane's loss, its lane, whether it is a fact.

    ``facts`` and ``text`` have the counted characters of each line.
    """
    shares, owners, of_facts = [], [], []
    for lane, (ours, more) in enumerate(zip(facts, text, strict=True)):
        shares += [1 / sum(ours) for _ in ours] + [weight / sum(more) for _ in more]
        owners += [lane] * (len(ours) + len(more))
        of_facts += [True] * len(ours) + [False] * len(more)
    return np.array(shares), np.array(owners, np.int64), np.array(of_facts, bool)
