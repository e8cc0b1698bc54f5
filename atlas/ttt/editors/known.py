"""What a character model knows without being taught: words that its corpus puts behind certain others.

A base that never saw the pool knows none of its facts, so tracing it needs others: pairs such as KING and RICHARD, of
which the second word, once its first letter is there, follows from the first. The corpus decides which pairs are
associated, and the model which of these it knows: where greedy decoding gives the rest of the word, likely enough.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from atlas.base.text import NEWLINE, encode
from atlas.draws import rng
from atlas.ttt.editors.tracing import Case
from atlas.ttt.engine.lines import Line, batch

SUBJECT, ANSWER = 3, 4  # letters that the words of a pair have at least
PAIR = re.compile(rf"(?<![A-Za-z'])([A-Za-z]{{{SUBJECT},}}) (?=([A-Za-z]{{{ANSWER},}})(?![A-Za-z']))")
TRIED = 8  # places of a pair
WORD = re.compile(rf"(?<![A-Za-z'])[A-Za-z]{{{ANSWER},}}(?![A-Za-z'])")


@dataclass(frozen=True)
class Association:
    """A pair of words, and where in the text the first one begins each time."""

    subject: str
    answer: str
    places: list[int] = field(repr=False)


def associations(text: str, times: int, share: float, elsewhere: float) -> list[Association]:
    """The associated pairs of a text, the most frequent first.

    Args:
        text: the corpus.
        times: how often a pair stands there at least.
        share: of the words behind the first one that begin with the same letter, at least so many are the second.
        elsewhere: of all words that begin with this letter, at most so many are: what the letter alone would say.
    """
    places: dict[tuple[str, str], list[int]] = {}
    for match in PAIR.finditer(text):
        places.setdefault((match[1], match[2]), []).append(match.start())
    behind, words, letters = Counter[tuple[str, str]](), Counter(WORD.findall(text)), Counter[str]()
    for (subject, answer), found in places.items():
        behind[subject, answer[0]] += len(found)
    for word, count in words.items():
        letters[word[0]] += count
    chosen = [
        Association(subject, answer, found)
        for (subject, answer), found in places.items()
        if len(found) >= times
        and len(found) >= share * behind[subject, answer[0]]
        and words[answer] <= elsewhere * letters[answer[0]]
    ]
    return sorted(chosen, key=lambda pair: (-len(pair.places), pair.subject, pair.answer))


def case_at(text: str, pair: Association, place: int, context: int) -> Case:
    """The pair where it stands: text, the first word, the second one's first letter; the rest of that is the answer."""
    before = encode(text[max(0, place - context) : place])
    asked, rest = encode(f"{pair.subject} {pair.answer[0]}"), encode(pair.answer[1:])
    tokens = np.concatenate([np.array([NEWLINE], np.uint8), before, asked, rest])
    first = 1 + len(before)
    item = Line(tokens, answer=first + len(asked))
    return Case(f"{pair.subject} {pair.answer}/{place}", item, first, first + len(pair.subject) - 1)


def known_cases(
    model: nn.Module, text: str, pairs: Sequence[Association], context: int, least: float, seed: int
) -> Iterator[Case]:
    """One case of each pair that the model knows: decoded right, with a probability of ``least`` or more.

    Of each pair a few places are tried in an order drawn with ``seed``; the first that the model knows is taken.
    """
    for pair in pairs:
        order = rng(seed, "known", pair.subject, pair.answer).permutation(len(pair.places))[:TRIED]
        cases = [case_at(text, pair, pair.places[i], context) for i in order]
        known = _known(model, [case.line for case in cases], least)
        if known.any():
            yield cases[int(known.argmax())]


@torch.inference_mode()
def _known(model: nn.Module, lines: Sequence[Line], least: float) -> np.ndarray:
    """Which of the lines' answers the model gives by greedy decoding, likely enough; bool, (lines,)."""
    packed = batch([lines], next(model.parameters()).device)
    likelihoods = model(packed.tokens, packed.positions, packed.packed).log_softmax(-1)
    wrong = (likelihoods.argmax(-1) != packed.targets) & packed.answers
    answers = likelihoods.gather(1, packed.targets[:, None])[:, 0] * packed.answers
    likely = packed.line_sums(answers).exp() >= least
    return ((packed.line_sums(wrong) == 0) & likely).cpu().numpy()
