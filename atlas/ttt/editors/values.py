"""The value of a key: what a layer would have to give at a fact's characters for the answer to be likely.

Meng et al. 2022 (arXiv 2202.05262), equation 4, and Meng et al. 2023 (arXiv 2210.07229), equation 16: an addition
``delta`` to the layer's output at the fact's characters is found by Adam. Its loss is the mean over the random texts of
the answer's mean negative log-likelihood, plus ``essence`` times KL(with the addition || without it) on the subject's
essence prompt, plus ``decay`` times the squared length of ``delta`` in lengths of what it is added to. After each step
``delta`` is pulled back to at most ``clamp`` such lengths; a fact whose loss is below ``stop`` stays as it is.

Three readings are ours. The answer counts with its line end, since nothing else says that it is over. The divergence is
the mean over the characters from the key to the end of the essence prompt, since one token there is several characters.
And the decay is squared: the published code has the length over a squared length, which depends on the scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle

import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.study.editor_settings import Value
from atlas.ttt.editors.continued import ends
from atlas.ttt.editors.layout import Layout
from atlas.ttt.editors.passes import Tail
from atlas.ttt.engine.lines import IGNORED


@dataclass(frozen=True)
class Found:
    """Additions, (keys, width); and of every fact, (facts,): the loss before and after the search, and its steps."""

    delta: Tensor
    first: Tensor
    last: Tensor
    steps: Tensor


def find_values(tail: Tail, layout: Layout, hidden: Tensor, lengths: Tensor, settings: Value) -> Found:
    """Find the additions of all requests of a layout at once; facts do not touch each other.

    Args:
        tail: the model from behind the edited layer on.
        layout: the requests.
        hidden: the residual stream behind the layer, (tokens, width).
        lengths: the length of what each addition is added to, (keys,).
        settings: steps, rate and weights.
    """
    delta = hidden.new_zeros(layout.keys, hidden.shape[1]).requires_grad_()
    optimiser = torch.optim.Adam([delta], lr=settings.lr)
    with tail, torch.enable_grad():
        search = _Search(tail, layout, hidden, lengths, settings)
        first = search.losses(delta).detach()
        going, steps = first >= settings.stop, torch.zeros_like(first)
        for _ in range(settings.steps):
            losses = search.losses(delta)
            going &= losses.detach() >= settings.stop
            if not going.any():
                break
            search.step(delta, losses, optimiser, going)
            steps += going
        last = search.losses(delta).detach()
    return Found(delta.detach(), first, last, steps)


class _Search:
    def __init__(self, tail: Tail, layout: Layout, hidden: Tensor, lengths: Tensor, settings: Value) -> None:
        self.tail, self.layout, self.lengths, self.settings = tail, layout, lengths, settings
        whole = tail.recorded(hidden, layout.lines)
        self.ends = ends(layout.lines, layout.written, cycle(whole.kept))  # nothing changes before them
        self.hidden = hidden[self.ends.rows]
        self.written, self.continued = self.ends.of(layout.written), self.ends.of(layout.continued)
        self.untouched = whole.logits[layout.continued].log_softmax(-1)

    def losses(self, delta: Tensor) -> Tensor:
        """The loss of every fact, (facts,)."""
        layout, lines = self.layout, self.ends.lines
        hidden = self.hidden.index_add(0, self.written, delta[layout.key_of_written])
        logits = self.tail.logits(hidden, lines)
        nll = F.cross_entropy(logits, lines.targets, ignore_index=IGNORED, reduction="none")
        answers = lines.line_sums(nll * lines.answers) / lines.line_sums(lines.answers).clamp(min=1)
        decay = layout.mean_of_facts(delta.square().sum(1) / self.lengths.square(), layout.fact_of_key)
        likelihood = layout.mean_over_lines(answers, ~layout.essence)
        return likelihood + self.settings.decay * decay + self.settings.essence * self._divergence(logits)

    def _divergence(self, logits: Tensor) -> Tensor:
        """KL from the model without additions on the essence prompts, nats a character, (facts,)."""
        now = logits[self.continued].log_softmax(-1)
        each = F.kl_div(self.untouched, now, reduction="none", log_target=True).sum(1)
        return self.layout.mean_of_facts(each, self.layout.fact_of_continued)

    def step(self, delta: Tensor, losses: Tensor, optimiser: torch.optim.Optimizer, going: Tensor) -> None:
        """Change the additions of the facts that are still going, in place."""
        before = delta.detach().clone()
        optimiser.zero_grad()
        torch.autograd.backward(losses.sum())
        optimiser.step()
        with torch.no_grad():
            most = self.settings.clamp * self.lengths / delta.norm(dim=1).clamp(min=1e-12)
            delta.mul_(most.clamp(max=1.0)[:, None])
            delta.copy_(torch.where(going[self.layout.fact_of_key][:, None], delta, before))
