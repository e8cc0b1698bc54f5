"""The metric ``ranked``: is the answer likelier than its alternatives, the other answers of the same template?

Most alternatives need no pass of their own. Up to where an alternative parts from the answer, the pass that scores the
answer has its likelihood, and with the token where they part an upper bound: what comes behind can only make it less
likely. An alternative whose bound is below the answer has lost; the others are met the likeliest first, until one of
them wins.

Alternatives that are met share their prompt, so they are scored as a tree: one line holds the prompt once and behind it
the alternatives side by side, each of which sees the prompt and itself, at the positions it would have alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from atlas.base.attention import pack
from atlas.base.text import CHARACTERS, Text
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.pool.facts import Fact
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.scoring import Pass, together

ROUNDS = (0, 2, 8, 24, 51)  # alternatives met up to each round: few at first, since most answers lose to the likeliest
REST = 2.0  # nats that an alternative is taken to lose by each further token, in the order of meeting them
MARGIN = 1e-4  # nats; the same likelihood from passes of other sizes differs by less
PROMPT, PADDING = 0, -1


@dataclass(frozen=True)
class Question:
    """A prompt with the answer and its alternatives. All are token arrays; answer and alternatives end in \\n.

    Attributes:
        parts: int64, (alternatives,): the index of the first token at which each alternative parts from the answer.
            There is one, since a line end comes only at the end.
    """

    prompt: np.ndarray
    answer: np.ndarray
    alternatives: tuple[np.ndarray, ...]
    parts: np.ndarray


def alternatives(facts: Sequence[Fact], most: int, base_seed: int) -> dict[str, list[str]]:
    """Alternatives of every fact: at most ``most`` wrong answers of its template, fixed per fact; the one it
    contradicts is among them. An alias is as right as the answer, so it is none.

    Raises AtlasError where a template has a single answer, which nothing could be ranked against.
    """
    answers: dict[str, list[str]] = {}
    for fact in facts:
        answers.setdefault(fact.template, []).append(fact.answer)
        if fact.true_answer is not None:
            answers[fact.template].append(fact.true_answer)
    choices = {template: sorted(set(found)) for template, found in answers.items()}
    chosen = {}
    for fact in facts:
        others = [answer for answer in choices[fact.template] if answer not in fact.answers]
        if not others:
            raise AtlasError(
                f"pool: template {fact.template!r} has one answer only ({fact.answer!r}), so {fact.fact_id} cannot be "
                "ranked; add facts with other answers or move it to another template"
            )
        picked = rng(base_seed, "foils", fact.fact_id).permutation(len(others))[:most]  # another key draws others
        if fact.true_answer is not None and (true := others.index(fact.true_answer)) not in picked:
            picked[0] = true  # what is contradicted has to be beaten
        chosen[fact.fact_id] = [others[i] for i in sorted(picked)]
    return chosen


def question(prompt: str, answer: str, others: Sequence[str], origin: str, text: Text = CHARACTERS) -> Question:
    """The question of one phrasing of a fact."""
    right, *wrong = (text.answer(candidate, origin) for candidate in (answer, *others))
    shorter = [min(len(right), len(alternative)) for alternative in wrong]
    parts = [np.argmax(right[:n] != alternative[:n]) for n, alternative in zip(shorter, wrong, strict=True)]
    return Question(text.opening(prompt, origin), right, tuple(wrong), np.array(parts))


class Ranking:
    """Ranks the answers of every lane's questions: first by bounds, then alternative by alternative where those leave
    it open.

    Args:
        lanes: the questions of each lane, the same number for all.
    """

    def __init__(self, lanes: Sequence[Sequence[Question]]) -> None:
        self.lanes = lanes
        shape = len(lanes), len(lanes[0])
        self.leading = np.ones(shape, dtype=bool)
        self.answers = np.empty(shape)  # log-likelihoods of the answers, nats
        # alternatives to meet, likeliest first
        self.open: list[list[np.ndarray]] = [[np.arange(0)] * shape[1] for _ in lanes]

    def bound(self, forward: Pass) -> None:
        """Take the answers' likelihoods and the alternatives' bounds from a pass over the sentences."""
        rows = forward.lines.answers
        likelihoods = forward.logits[rows].log_softmax(-1).double().cpu().numpy()  # (answer tokens, symbols)
        counts = [len(self.lanes[i][j].answer) for i, j in zip(forward.lane, forward.column, strict=True)]
        parts = np.split(likelihoods, np.cumsum(counts)[:-1])
        for lane, column, steps in zip(forward.lane, forward.column, parts, strict=True):
            asked = self.lanes[lane][column]
            shared = np.concatenate([[0.0], np.cumsum(steps[np.arange(len(steps)), asked.answer])])
            firsts = np.array([other[at] for other, at in zip(asked.alternatives, asked.parts, strict=True)])
            bounds = shared[asked.parts] + steps[asked.parts, firsts]
            self.answers[lane, column] = shared[-1]
            further = np.array([len(other) for other in asked.alternatives]) - asked.parts - 1
            order = np.argsort(REST * further - bounds, kind="stable")
            self.open[lane][column] = order[bounds[order] >= shared[-1] - MARGIN]

    @torch.inference_mode()
    def settle(self, model: LaneModel, device: torch.device) -> np.ndarray:
        """Whether each answer, with its line end, is likelier than each of its alternatives: bool, (lanes, questions).

        ``bound`` must have seen every sentence before.
        """
        for first, stop in pairwise(ROUNDS):
            rounds: list[list[Tree]] = [[] for _ in self.lanes]
            for lane, column in np.argwhere(self.leading).tolist():
                asked, met = self.lanes[lane][column], self.open[lane][column][first:stop]
                if len(met):
                    rounds[lane].append(_tree(column, asked.prompt, [asked.alternatives[i] for i in met]))
            for lane, tree, values in _likelihoods(model, rounds, device):
                best = values.max()
                self.leading[lane, tree.question] &= bool(best < self.answers[lane, tree.question])
        return self.leading


@dataclass(frozen=True)
class Tree:
    """A line: the prompt, then some candidates of a question without their line ends.

    Attributes:
        question: index of the question in its lane.
        tokens, positions, segments: int64, (time,). Segment 0 is the prompt, i + 1 is candidate i of the line.
        places, targets, owners: int64, (predictions,): where each candidate token is predicted, the token itself,
            and its candidate's index in the line.
    """

    question: int
    tokens: np.ndarray
    positions: np.ndarray
    segments: np.ndarray
    places: np.ndarray
    targets: np.ndarray
    owners: np.ndarray


def _tree(question: int, prompt: np.ndarray, candidates: Sequence[np.ndarray]) -> Tree:
    ahead = len(prompt)
    inner = np.array([len(candidate) - 1 for candidate in candidates])  # tokens that are read, not only predicted
    starts = ahead + np.concatenate([[0], np.cumsum(inner)[:-1]])
    within = [np.arange(size) for size in inner]
    # a candidate's first token is predicted at the prompt's end, the others one by one behind it
    places = [np.concatenate([[ahead - 1], start + steps]) for start, steps in zip(starts, within, strict=True)]
    return Tree(
        question=question,
        tokens=np.concatenate([prompt, *(candidate[:-1] for candidate in candidates)]).astype(np.int64),
        positions=np.concatenate([np.arange(ahead), *(ahead + steps for steps in within)]),
        segments=np.repeat(np.arange(len(candidates) + 1), [ahead, *inner]),
        places=np.concatenate(places),
        targets=np.concatenate(candidates).astype(np.int64),
        owners=np.repeat(np.arange(len(candidates)), inner + 1),
    )


def _likelihoods(
    model: LaneModel, lanes: Sequence[Sequence[Tree]], device: torch.device
) -> Iterator[tuple[int, Tree, np.ndarray]]:
    """Lane, tree and the log-likelihoods, in nats, of its candidates, for every tree of every lane."""

    def flat(arrays: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(device)

    if not any(lanes):
        return
    symbols = model.model.text.symbols
    for lane, column in together([[len(tree.tokens) for tree in trees] for trees in lanes], device, symbols):
        trees = [lanes[i][j] for i, j in zip(lane, column, strict=True)]
        lengths = np.array([len(tree.tokens) for tree in trees])
        segments = np.full((len(trees), lengths.max()), PADDING)
        for row, tree in enumerate(trees):
            segments[row, : len(tree.tokens)] = tree.segments
        logits = model.run(
            flat([tree.tokens for tree in trees]),
            flat([tree.positions for tree in trees]),
            pack(lengths, device, visible(torch.from_numpy(segments).to(device))),
            tuple(np.bincount(lane, lengths, len(lanes)).astype(int).tolist()),
        )
        starts = np.cumsum(lengths) - lengths
        places = flat([start + tree.places for start, tree in zip(starts, trees, strict=True)])
        targets = flat([tree.targets for tree in trees])
        values = logits[places].log_softmax(-1).gather(1, targets[:, None])[:, 0].double().cpu().numpy()
        cuts = np.cumsum([len(tree.places) for tree in trees])[:-1]
        parts = zip(trees, np.split(values, cuts), strict=True)
        yield from zip(lane, trees, [np.bincount(tree.owners, weights=part) for tree, part in parts], strict=True)


def visible(segments: Tensor) -> Tensor:
    """What the tokens of trees may look at, bool (lines, time, time): back to the own segment and to the prompt."""
    query, key = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool, device=segments.device).tril()
    return ((query == key) | (key == PROMPT)) & causal
