"""The metric ``association``: is the answer likelier than its alternatives, the other answers taught so far in the same
template?

The pass that scores the answer has each alternative's likelihood up to where it parts from the answer, and with the
token where they part an upper bound: what comes behind can only make it less likely. An alternative whose bound is
below the answer has lost. The others go on behind the line from there, side by side, the likeliest first, until one of
them wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch.nn import functional as F

from atlas.base.attention import grid
from atlas.base.text import Text, gap
from atlas.errors import AtlasError
from atlas.pool.facts import Fact
from atlas.ttt.engine.scoring import Pass, together

FEW = 1  # alternatives that are met in the first round, since most answers lose to the likeliest; then more
REST = 2.0  # nats that an alternative is taken to lose by each further token, in the order of meeting them
MARGIN = 1e-4  # nats; the same likelihood from passes of other sizes differs by less
NONE = -1  # behind the end of a shorter alternative


@dataclass(frozen=True)
class Alternatives:
    """Other answers than a fact's.

    Attributes:
        answers: those taught in its template, which its facts share, int64 (answers, longest): tokens, line ends
            included, then NONE.
        own: which of them are no alternatives, int64.
    """

    answers: np.ndarray
    own: np.ndarray

    def __len__(self) -> int:
        return len(self.answers) - len(self.own)

    @property
    def tokens(self) -> np.ndarray:
        """Those that are, int64 (alternatives, longest), as ``answers``."""
        return np.delete(self.answers, self.own, axis=0)


@dataclass(frozen=True)
class AnswerRows:
    """AnswerRows as they are read behind a prompt.

    Attributes:
        tokens: int64, (answers, longest): line ends included, then NONE.
        rows: which of them have a text, or tokens.
    """

    tokens: np.ndarray
    rows: Mapping[str | bytes, Sequence[int]]

    @classmethod
    def of(cls, answers: Mapping[str, np.ndarray]) -> AnswerRows:
        """From each answer's tokens."""
        padded = np.full((len(answers), max(map(len, answers.values()), default=0)), NONE)
        rows: dict[str | bytes, list[int]] = {}
        for row, (answer, tokens) in enumerate(answers.items()):
            padded[row, : len(tokens)] = tokens
            for key in (answer, tokens.tobytes()):
                rows.setdefault(key, []).append(row)
        return cls(padded, rows)


class Taught:
    """The answers that a lane was taught so far, template by template, each once.

    Args:
        facts: those that were taught.
        text: how the model reads.
        origin: of the facts, for messages.
        context: tokens that the model has places for; None where no sentence comes near.
    """

    def __init__(self, facts: Sequence[Fact], text: Text, origin: str, context: int | None = None) -> None:
        self._text, self._origin, self._context = text, origin, context
        self._answers: dict[str, dict[str, None]] = {}
        for fact in facts:
            self._answers.setdefault(fact.template, {})[fact.answer] = None
        self._read: dict[tuple[str, str], AnswerRows] = {}  # by template, and what an answer's tokens depend on

    def besides(self, fact: Fact, form: int = 0) -> Alternatives:
        """The alternatives of a fact, taught or not, behind one of its prompts: none that is an alias of it or reads
        the same. Nor one that the tokenizer joins to the prompt, or that has no room behind it. What it takes does not
        grow with their number, where a space stands before answers."""
        prompt = fact.prompts[form]
        own = self._text.sentence(prompt, fact.answer, f"{self._origin}: fact {fact.fact_id}")
        key = fact.template, "" if self._text.unique else gap(prompt) or prompt
        if key not in self._read:
            each = {answer: self._behind(prompt, answer) for answer in self._answers.get(fact.template, ())}
            self._read[key] = AnswerRows.of({answer: tokens for answer, tokens in each.items() if tokens is not None})
        known = self._read[key]
        same: list[str | bytes] = [*fact.answers, own.behind.tobytes()]
        none = {row for one in same for row in known.rows.get(one, ())}
        if self._context is not None and known.tokens.shape[1] > (room := self._context + 1 - own.answer):
            none.update(np.flatnonzero(known.tokens[:, room] != NONE).tolist())
        return Alternatives(known.tokens, np.array(sorted(none), np.int64))

    def _behind(self, prompt: str, answer: str) -> np.ndarray | None:
        """The tokens of a taught answer behind a prompt that need not be its own; None where there is no such split."""
        try:
            return self._text.sentence(prompt, answer, self._origin).behind
        except AtlasError:  # its characters are all read, since it was taught
            return None


@torch.inference_mode()
def associated(forward: Pass, line: np.ndarray, alternatives: Sequence[Alternatives]) -> np.ndarray:
    """Whether an answer, with its line end, is likelier than each of some alternatives with theirs.

    Args:
        forward: the pass that has its line.
        line: of each question which line it asks, int64 (questions,), in rising order.
        alternatives: those of each question.

    Returns:
        bool, (questions,); True where there are no alternatives. One that is as likely as the answer wins.
    """
    ahead = np.ones(len(alternatives), bool)
    if not any(map(len, alternatives)):
        return ahead
    left, stop = Candidates.bounded(forward, line, alternatives), FEW
    known = np.full(left.key.max(initial=-1) + 1, np.nan)  # log-likelihoods, of those that several questions have, too
    while len((left := left.only(ahead[left.question])).line):
        now, left = left.only(left.rank < stop), left.only(left.rank >= stop)
        new = now.only(np.isnan(known[now.key]))
        new = new.only(np.sort(np.unique(new.key, return_index=True)[1]))
        known[new.key] = new.likelihoods(forward)
        ahead[now.question[known[now.key] >= now.answer]] = False
        stop *= 4
    return ahead


@dataclass(frozen=True)
class Candidates:
    """Alternatives that have not lost yet, line after line of a pass.

    Attributes:
        question: whose alternative each is, int64 (candidates,).
        line: which line that asks, int64 (candidates,).
        key: the same where line and alternative are, from 0, int64 (candidates,).
        rank: from 0, among those of its question, by what its likelihood may be, int64 (candidates,).
        seen: tokens of its line, prompt included, before the one at which it parts from that, int64 (candidates,).
        bound: its log-likelihood with that token, nats, (candidates,).
        answer: the log-likelihood of its line's answer, nats, (candidates,).
        rest: its tokens from that one on, then NONE, int64 (candidates, longest).
    """

    question: np.ndarray
    line: np.ndarray
    key: np.ndarray
    rank: np.ndarray
    seen: np.ndarray
    bound: np.ndarray
    answer: np.ndarray
    rest: np.ndarray

    def only(self, chosen: np.ndarray) -> Candidates:
        """Some of the candidates, bool (candidates,), or their places, int64."""
        return Candidates(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def bounded(cls, forward: Pass, lines: np.ndarray, alternatives: Sequence[Alternatives]) -> Candidates:
        """All alternatives but those that the pass shows to be less likely than the answer, arguments as of
        ``associated``."""
        question = np.repeat(np.arange(len(alternatives)), [len(some) for some in alternatives])
        line = lines[question]
        longest = max(some.answers.shape[1] for some in alternatives)
        whole = np.concatenate(
            [
                np.pad(some.tokens, ((0, 0), (0, longest - some.answers.shape[1])), constant_values=NONE)
                for some in alternatives
            ]
        )
        answers = np.full((len(forward.items), longest), NONE)
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
        order = np.lexsort((REST * (rest >= 0).sum(1) - bound, question))
        order = order[bound[order] >= answer[order] - MARGIN]
        question, line, seen = question[order], line[order], begins[line[order]] + part[order]
        rank = np.arange(len(question)) - np.searchsorted(question, question)
        rows = np.column_stack([line, whole[order]])
        key = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
        return cls(question, line, key, rank, seen, bound[order], answer[order], rest[order])

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
