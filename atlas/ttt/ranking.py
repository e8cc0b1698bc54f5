"""The ranked metric: is the answer likelier than its foils, the other answers of the same template?

A fact's candidates share their prompt, so they are scored as a tree: one row holds the prompt once and behind it the
candidates side by side, each of which sees the prompt and itself, at the positions it would have alone.
"""

from __future__ import annotations

from collections.abc import Sequence
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

CANDIDATES_PER_ROW = 17  # a row's attention grows with its square; 51 candidates in three rows cost the least here
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
    """Whether each answer, with its line end, is strictly likelier than each of its foils: bool, (lanes, questions)."""
    trees = [[tree for index, asked in enumerate(lane) for tree in _trees(index, asked)] for lane in lanes]
    rows = max(len(lane) for lane in trees)
    trees = [lane + lane[:1] * (rows - len(lane)) for lane in trees]  # the repeats only make the lanes alike
    likely = [[np.full(len(asked.candidates), np.nan) for asked in lane] for lane in lanes]
    for _, chosen in by_length(trees, lambda tree: len(tree.tokens)):
        flat = [tree for lane in chosen for tree in lane]
        owners = [likely[lane] for lane, some in enumerate(chosen) for _ in some]
        for tree, values, lane in zip(flat, _log_likelihoods(model, flat, device), owners, strict=True):
            lane[tree.question][tree.first : tree.first + len(values)] = values
    return np.array([[bool(values[0] > values[1:].max()) for values in lane] for lane in likely])


@dataclass(frozen=True)
class Tree:
    """A row: the prompt, then some candidates of a question without their line ends.

    Attributes:
        question, first: the question's index, and the index in it of this row's first candidate.
        tokens, positions, segments: int64, (time,). Segment 0 is the prompt, i + 1 is candidate i of the row.
        places, targets, owners: int64, (predictions,): where each candidate token is predicted, the token itself,
            and its candidate's index in the row.
    """

    question: int
    first: int
    tokens: np.ndarray
    positions: np.ndarray
    segments: np.ndarray
    places: np.ndarray
    targets: np.ndarray
    owners: np.ndarray


def _trees(index: int, asked: Question) -> list[Tree]:
    """The rows of a question."""
    starts = range(0, len(asked.candidates), CANDIDATES_PER_ROW)
    return [_tree(index, start, asked.prompt, asked.candidates[start : start + CANDIDATES_PER_ROW]) for start in starts]


def _tree(index: int, first: int, prompt: np.ndarray, candidates: Sequence[np.ndarray]) -> Tree:
    ahead = len(prompt)
    inner = np.array([len(candidate) - 1 for candidate in candidates])  # tokens that are read, not only predicted
    starts = ahead + np.concatenate([[0], np.cumsum(inner)[:-1]])
    within = [np.arange(size) for size in inner]
    # a candidate's first token is predicted at the prompt's end, the others one by one behind it
    places = [np.concatenate([[ahead - 1], start + steps]) for start, steps in zip(starts, within, strict=True)]
    return Tree(
        question=index,
        first=first,
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
