"""The ranked metric: is the answer likelier than its foils, the other answers of the same template?

A fact's candidates share their prompt, so they are scored as a tree: one row holds the prompt once and behind it the
candidates side by side, each of which sees the prompt and itself, at the positions it would have alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.base.text import NEWLINE, encode
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.pool.facts import Fact
from atlas.ttt.lines import opening
from atlas.ttt.scoring import LanguageModel, by_length

CANDIDATES_PER_ROW = 13  # a row's attention grows with its square, and an answer that lost skips the later rows
PROMPT, PADDING = 0, -1


@dataclass(frozen=True)
class Question:
    """A prompt with its candidates: the answer first, then the foils. All are token arrays; candidates end in \\n."""

    prompt: np.ndarray
    candidates: tuple[np.ndarray, ...]


def foils(facts: Sequence[Fact], most: int, base_seed: int) -> dict[str, list[str]]:
    """Foils of every fact: at most ``most`` other answers of its template, fixed per fact.

    Raises AtlasError where a template has a single answer, which nothing could be ranked against.
    """
    answers: dict[str, list[str]] = {}
    for fact in facts:
        answers.setdefault(fact.template, []).append(fact.answer)
    choices = {template: sorted(set(found)) for template, found in answers.items()}
    chosen = {}
    for fact in facts:
        others = [answer for answer in choices[fact.template] if answer != fact.answer]
        if not others:
            raise AtlasError(
                f"pool: template {fact.template!r} has one answer only ({fact.answer!r}), so {fact.fact_id} cannot be "
                "ranked; add facts with other answers or move it to another template"
            )
        picked = rng(base_seed, "foils", fact.fact_id).permutation(len(others))[:most]
        chosen[fact.fact_id] = [others[i] for i in sorted(picked)]
    return chosen


def question(prompt: str, answer: str, others: Sequence[str], origin: str) -> Question:
    """The question of one form of a fact."""
    candidates = tuple(encode(f"{candidate}\n", origin) for candidate in (answer, *others))
    return Question(opening(prompt, origin), candidates)


@torch.inference_mode()
def ranked(model: LanguageModel, lanes: Sequence[Sequence[Question]], device: torch.device) -> np.ndarray:
    """Whether each answer, with its line end, is strictly likelier than each of its foils: bool, (lanes, questions).

    Foils are met some at a time, and an answer that lost to one meets no more: most answers lose early.
    """
    answers = np.full((len(lanes), len(lanes[0])), np.inf)  # log-likelihood, known after the first round
    leading = np.ones(answers.shape, dtype=bool)
    most = max(len(asked.candidates) for lane in lanes for asked in lane)
    for first in range(0, most, CANDIDATES_PER_ROW):
        rounds = [_round(lane, leads, first) for lane, leads in zip(lanes, leading, strict=True)]
        for lane, tree, values in _likelihoods(model, rounds, device):
            if first == 0:
                answers[lane, tree.question], values = values[0], values[1:]
            leading[lane, tree.question] &= bool((values < answers[lane, tree.question]).all())
    return leading


def _round(lane: Sequence[Question], leads: np.ndarray, first: int) -> list[Tree]:
    """The next row of every question whose answer still leads."""
    part = slice(first, first + CANDIDATES_PER_ROW)
    return [
        _tree(index, asked.prompt, asked.candidates[part])
        for index, asked in enumerate(lane)
        if leads[index] and len(asked.candidates) > first
    ]


def _likelihoods(
    model: LanguageModel, lanes: Sequence[Sequence[Tree]], device: torch.device
) -> Iterator[tuple[int, Tree, np.ndarray]]:
    """Lane, tree and the log-likelihoods, in nats, of its candidates, for every tree of every lane."""
    rows = max(len(trees) for trees in lanes)
    filler = next((trees[0] for trees in lanes if trees), None)
    if filler is None:
        return
    alike = [[*trees, *[filler] * (rows - len(trees))] for trees in lanes]  # lanes run side by side: the same number
    for columns, chosen in by_length(alike, lambda tree: len(tree.tokens)):
        values = iter(_log_likelihoods(model, [tree for trees in chosen for tree in trees], device))
        for lane, trees in enumerate(chosen):
            for column, tree in zip(columns[lane], trees, strict=True):
                found = next(values)
                if column < len(lanes[lane]):
                    yield lane, tree, found


@dataclass(frozen=True)
class Tree:
    """A row: the prompt, then some candidates of a question without their line ends.

    Attributes:
        question: index of the question in its lane.
        tokens, positions, segments: int64, (time,). Segment 0 is the prompt, i + 1 is candidate i of the row.
        places, targets, owners: int64, (predictions,): where each candidate token is predicted, the token itself,
            and its candidate's index in the row.
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


def _log_likelihoods(model: LanguageModel, trees: Sequence[Tree], device: torch.device) -> list[np.ndarray]:
    """Log-likelihood, in nats, of every candidate of every row."""
    time = max(len(tree.tokens) for tree in trees)
    tokens = _padded([tree.tokens for tree in trees], time, NEWLINE).to(device)
    positions = _padded([tree.positions for tree in trees], time, 0).to(device)
    segments = _padded([tree.segments for tree in trees], time, PADDING).to(device)
    logits = model(tokens, positions, visible(segments))
    rows = np.repeat(np.arange(len(trees)), [len(tree.places) for tree in trees])
    places = np.concatenate([tree.places for tree in trees])
    targets = torch.from_numpy(np.concatenate([tree.targets for tree in trees])).to(device)
    picked = logits[torch.from_numpy(rows).to(device), torch.from_numpy(places).to(device)].log_softmax(-1)
    values = picked.gather(1, targets[:, None])[:, 0].double().cpu().numpy()
    cuts = np.cumsum([len(tree.places) for tree in trees])[:-1]
    return [np.bincount(tree.owners, weights=part) for tree, part in zip(trees, np.split(values, cuts), strict=True)]


def visible(segments: Tensor) -> Tensor:
    """Attention mask of trees, bool (rows, 1, time, time): back to the own segment and to the prompt."""
    query, key = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool, device=segments.device).tril()
    return (((query == key) | (key == PROMPT)) & causal)[:, None]


def _padded(rows: Sequence[np.ndarray], time: int, value: int) -> Tensor:
    out = np.full((len(rows), time), value, dtype=np.int64)
    for row, values in enumerate(rows):
        out[row, : len(values)] = values
    return torch.from_numpy(out)
