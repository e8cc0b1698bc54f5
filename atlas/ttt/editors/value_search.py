"""The value of a key: what a layer would have to give at a fact's tokens for the answer to be likely.

Meng et al. 2022 (arXiv 2202.05262), equation 4, and Meng et al. 2023 (arXiv 2210.07229), equation 16: an addition
``delta`` to the layer's output at the fact's tokens is found by Adam. Its loss is the mean over the random texts of the
answer's mean negative log-likelihood, plus ``essence`` times KL(with the addition || without it) on the subject's
essence prompt, plus ``decay`` times the squared length of ``delta`` in lengths of what it is added to. After each step
``delta`` is pulled back to at most ``clamp`` such lengths; the search of a fact ends where its loss is below ``stop``.

Three readings are ours. The answer counts with its line end, since nothing else says that it is over. Where tokens are
characters the divergence is the mean over those from the key to the end of the essence prompt, since what is one token
in the papers is several there; elsewhere it is taken at the key alone, as published. And the decay is squared by
default: the published code has the length over a squared length, which depends on the scale (``decay_form``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.base.optimisers import Adam
from atlas.study.editor_settings import ValueSearch
from atlas.ttt.editors.passes import LineEnds, Tail
from atlas.ttt.editors.requests import RequestBatch
from atlas.ttt.engine.lines import IGNORED


@dataclass(frozen=True)
class Found:
    """Additions, (keys, width); and of every fact, (facts,): the loss before and after the search, and its steps."""

    delta: Tensor
    first: Tensor
    last: Tensor
    steps: Tensor


def find_values(tail: Tail, batch: RequestBatch, hidden: Tensor, lengths: Tensor, settings: ValueSearch) -> Found:
    """Find the additions of all requests of a batch at once; facts do not touch each other.

    Args:
        tail: the model from behind the edited layer on.
        batch: the requests.
        hidden: the residual stream behind the layer, (tokens, width).
        lengths: the length of what each addition is added to, (keys,).
        settings: steps, learning rate and weights.
    """
    delta = hidden.new_zeros(batch.keys, hidden.shape[1]).requires_grad_()
    optimiser = Adam([delta], lr=settings.lr)
    with tail, torch.enable_grad():
        losses_of = _objective(tail, batch, hidden, lengths, settings)
        first = losses_of(delta).detach()
        going, steps = first >= settings.stop, torch.zeros_like(first)
        for _ in range(settings.steps):
            losses = losses_of(delta)
            going &= losses.detach() >= settings.stop
            if not going.any():
                break
            before = delta.detach().clone()
            optimiser.zero_grad()
            torch.autograd.backward(losses.sum())
            optimiser.step()
            with torch.no_grad():
                most = settings.clamp * lengths / delta.norm(dim=1).clamp(min=1e-12)
                delta.mul_(most.clamp(max=1.0)[:, None])
                delta.copy_(torch.where(going[batch.fact_of_key][:, None], delta, before))
            steps += going
        last = losses_of(delta).detach()
    return Found(delta.detach(), first, last, steps)


def _objective(
    tail: Tail, batch: RequestBatch, hidden: Tensor, lengths: Tensor, settings: ValueSearch
) -> Callable[[Tensor], Tensor]:
    """What the search minimises: a function from additions to the loss of every fact, (facts,)."""
    whole, kept = tail.recorded(hidden, batch.lines)
    ends = LineEnds.cut(batch.lines, batch.written, cycle(kept))  # nothing changes before them
    lines, before = ends.lines, hidden[ends.rows]
    written, continued = ends.of(batch.written), ends.of(batch.continued)
    untouched, sentences = whole[batch.continued].log_softmax(-1), ~batch.essence

    def losses(delta: Tensor) -> Tensor:
        logits = tail.logits(before.index_add(0, written, delta[batch.key_of_written]), lines)
        nll = F.cross_entropy(logits, lines.targets, ignore_index=IGNORED, reduction="none")
        answers = lines.line_sums(nll * lines.answers) / lines.line_sums(lines.answers).clamp(min=1)
        likelihood = batch.mean_of_facts(answers[sentences], batch.fact_of_line[sentences])
        size = delta.square().sum(1) if settings.decay_form == "squared" else delta.norm(dim=1)
        decay = batch.mean_of_facts(size / lengths.square(), batch.fact_of_key)
        now = logits[continued].log_softmax(-1)
        divergences = F.kl_div(untouched, now, reduction="none", log_target=True).sum(1)
        divergence = batch.mean_of_facts(divergences, batch.fact_of_continued)  # nats a token
        return likelihood + settings.decay * decay + settings.essence * divergence

    return losses
