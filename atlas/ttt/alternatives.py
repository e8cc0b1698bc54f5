"""The metric ``association``: is the answer likelier than its alternatives, the other answers taught so far in the same
template?

The pass that scores the answer has each alternative's likelihood up to where it parts from the answer, and with the
token where they part an upper bound: what comes behind can only make it less likely. An alternative whose bound is
below the answer has lost. The others go on behind the line from there, side by side, the likeliest first, until one of
them wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch.nn import functional as F

from atlas.base.attention import grid
from atlas.base.text import Text
from atlas.pool.facts import Fact
from atlas.ttt.engine.scoring import Pass, together

FEW = 2  # alternatives that are met in the first round, since most answers lose to the likeliest; then more
REST = 2.0  # nats that an alternative is taken to lose by each further token, in the order of meeting them
MARGIN = 1e-4  # nats; the same likelihood from passes of other sizes differs by less
NONE = -1  # behind the end of a shorter alternative

Alternatives = np.ndarray
"""Other answers than a fact's, int64 (alternatives, longest): their tokens, line ends included, then NONE."""


class Taught:
    """The answers that a lane was taught so far, template by template.

    Args:
        facts: those that were taught.
        text: how the model reads.
        origin: of the facts, for messages.
    """

    def __init__(self, facts: Sequence[Fact], text: Text, origin: str) -> None:
        self._text, self._origin = text, origin
        self._answers: dict[str, dict[str, np.ndarray]] = {}
        for fact in facts:
            self._answers.setdefault(fact.template, {})[fact.answer] = self._tokens(fact)

    def besides(self, fact: Fact) -> Alternatives:
        """The alternatives of a fact, taught or not: each once, and none that is an alias of it or reads the same."""
        own = self._tokens(fact)
        others = self._answers.get(fact.template, {})
        some = [tokens for answer, tokens in others.items() if answer not in fact.answers]
        some = [tokens for tokens in some if not np.array_equal(tokens, own)]
        padded = np.full((len(some), max(map(len, some), default=0)), NONE)
        for row, tokens in zip(padded, some, strict=True):
            row[: len(tokens)] = tokens
        return padded

    def _tokens(self, fact: Fact) -> np.ndarray:
        return self._text.answer(fact.answer, f"{self._origin}: fact {fact.fact_id}")


@torch.inference_mode()
def associated(forward: Pass, alternatives: Sequence[Alternatives]) -> np.ndarray:
    """Whether the answer of each line of a pass, with its line end, is likelier than each of its alternatives with
    theirs: bool, (lines,); True where there are none. One that is as likely as the answer wins."""
    ahead = np.ones(len(alternatives), bool)
    if not any(map(len, alternatives)):
        return ahead
    left, stop = Candidates.bounded(forward, alternatives), FEW
    while len((left := left.only(ahead[left.line])).line):
        now, left = left.only(left.rank < stop), left.only(left.rank >= stop)
        ahead[now.line[now.likelihoods(forward) >= now.answer]] = False
        stop *= 4
    return ahead


@dataclass(frozen=True)
class Candidates:
    """Alternatives of the lines of a pass that have not lost yet, line after line.

    Attributes:
        line: whose alternative each is, int64 (candidates,).
        rank: from 0, among those of its line, by what its likelihood may be, int64 (candidates,).
        seen: tokens of its line, prompt included, before the one at which it parts from that, int64 (candidates,).
        bound: its log-likelihood with that token, nats, (candidates,).
        answer: the log-likelihood of its line's answer, nats, (candidates,).
        rest: its tokens from that one on, then NONE, int64 (candidates, longest).
    """

    line: np.ndarray
    rank: np.ndarray
    seen: np.ndarray
    bound: np.ndarray
    answer: np.ndarray
    rest: np.ndarray

    def only(self, chosen: np.ndarray) -> Candidates:
        """Some of the candidates, bool (candidates,)."""
        return Candidates(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def bounded(cls, forward: Pass, alternatives: Sequence[Alternatives]) -> Candidates:
        """All alternatives but those that the pass shows to be less likely than the answer."""
        line = np.repeat(np.arange(len(alternatives)), [len(some) for some in alternatives])
        longest = max(some.shape[1] for some in alternatives)
        whole = np.concatenate(
            [np.pad(some, ((0, 0), (0, longest - some.shape[1])), constant_values=NONE) for some in alternatives]
        )
        answers = np.full((len(alternatives), longest), NONE)
        for row, item in zip(answers, forward.items, strict=True):
            own = item.tokens[item.answer :][:longest]
            row[: len(own)] = own
        part = (whole != answers[line]).argmax(1)  # there is one, since a line end comes only at the end
        begins = np.array([item.answer for item in forward.items])
        first = torch.from_numpy(whole[np.arange(len(whole)), part]).to(forward.nll.device)
        # a token's log-likelihood is its logit less what all logits together come to
        places = torch.from_numpy(forward.starts[line] + begins[line] - 1 + part).to(forward.nll.device)
        logits, nll, targets = forward.logits, forward.nll, forward.lines.targets
        step = (logits[places, first] - logits[places, targets[places]] - nll[places]).double().cpu().numpy()
        before = np.concatenate([[0.0], np.cumsum(nll.double().cpu().numpy())])  # nats of all tokens before each
        starts = forward.starts + begins - 1  # of the answers
        ends = forward.starts + [item.predicted for item in forward.items]
        bound = before[starts[line]] - before[starts[line] + part] + step
        answer = (before[starts] - before[ends])[line]
        rest = np.take_along_axis(whole, np.minimum(part[:, None] + np.arange(longest), longest - 1), axis=1)
        rest[part[:, None] + np.arange(longest) >= longest] = NONE
        order = np.lexsort((REST * (rest >= 0).sum(1) - bound, line))
        order = order[bound[order] >= answer[order] - MARGIN]
        line, seen = line[order], begins[line[order]] + part[order]
        rank = np.arange(len(line)) - np.searchsorted(line, line)
        return cls(line, rank, seen, bound[order], answer[order], rest[order])

    def likelihoods(self, forward: Pass) -> np.ndarray:
        """The log-likelihood of each candidate, line end included, nats, (candidates,)."""
        values, more = self.bound.copy(), (self.rest[:, 1:] >= 0).sum(1)  # tokens that are read and not only predicted
        going = np.flatnonzero(more)
        lines, owner = np.unique(self.line[going], return_inverse=True)
        lengths = np.bincount(owner, more[going])  # a line has its candidates side by side
        for _, some in together([lengths.tolist()], forward.nll.device, forward.logits.shape[1]):
            mine = going[np.isin(owner, some)]
            values[mine] += _further(forward, lines[some], self.only(mine), more[mine])
        return values


def _further(forward: Pass, lines: np.ndarray, candidates: Candidates, more: np.ndarray) -> np.ndarray:
    """Log-likelihoods of what comes behind the candidates' first tokens, nats, (candidates,).

    Args:
        lines: whose candidates they are, int64, in their order.
        more: tokens of each that are read, int64 (candidates,), at least one.
    """
    device = forward.nll.device
    owner = np.repeat(np.arange(len(more)), more)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(more) - more, more)
    counts = np.bincount(np.searchsorted(lines, candidates.line), more).astype(np.int64)
    tokens, positions, targets, seen, own = (
        torch.from_numpy(some).to(device)
        for some in (
            candidates.rest[owner, step],
            candidates.seen[owner] + step,
            candidates.rest[owner, step + 1],
            candidates.seen[owner],
            owner,
        )
    )
    behind = forward.behind(lines, int(candidates.seen.max()), int(counts.max()))
    cells = grid(counts, device, multiple=1).cells  # (lines, time)
    at = cells - cells[:, :1]
    seen, own = seen[cells][:, :, None], own[cells]
    # back to where the candidate parts from its line, and to its own tokens
    kept = torch.arange(behind.time, device=device) < seen  # (lines, time, kept time)
    new = (own[:, :, None] == own[:, None, :]) & (torch.arange(at.shape[1], device=device) <= at[:, :, None])
    hidden = torch.zeros(1, device=device).where(torch.cat([kept.expand(-1, -1, -1), new], dim=2), -torch.inf)
    nll = F.cross_entropy(behind.run(tokens, positions, counts, hidden), targets, reduction="none")
    return -np.bincount(owner, nll.double().cpu().numpy())
