"""Which taught prompt resembles another one most, by its letters alone: whatever the language, and whoever the model.

Texts are compared by what they have of their words' triples of letters, the rarer among the taught prompts the more,
as the cosine of their TF-IDF vectors (Salton and Buckley 1988).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

LEAST = 0.25  # of the built-in facts, about 95% of paraphrases are nearer to theirs, and 95% of other questions are not
UNSEEN = 30  # prompts that a triple is taken to be missing in beside those that were taught; so few facts are enough


@dataclass(frozen=True)
class Likeness:
    """The nearest of some texts.

    Attributes:
        place: of the text among them; None where there are none.
        degree: from 0, nothing in common, to 1.
    """

    place: int | None
    degree: float

    @property
    def resembles(self) -> bool:
        """Whether it is near enough to say so."""
        return self.degree >= LEAST


def nearest(text: str, taught: Sequence[str]) -> Likeness:
    """The nearest of some texts; of equals the first."""
    if not taught:
        return Likeness(None, 0.0)
    known = [_triples(one) for one in taught]
    times = Counter(triple for triples in known for triple in triples)

    def weights(triples: set[str]) -> dict[str, float]:
        return {triple: math.log((len(known) + UNSEEN) / (times[triple] + 1)) for triple in triples}

    own = weights(_triples(text))
    degrees = [_cosine(own, weights(triples)) for triples in known]
    place = max(range(len(degrees)), key=degrees.__getitem__)
    return Likeness(place, degrees[place])


def differing(one: str, other: str) -> tuple[list[str], list[str]]:
    """The words of each of two texts that the other one lacks, in their order."""
    a, b = _words(one), _words(other)
    return [word for word in a if word not in b], [word for word in b if word not in a]


def _cosine(a: dict[str, float], b: dict[str, float]) -> float:
    both = sum(weight * b[triple] for triple, weight in a.items() if triple in b)
    sizes = math.hypot(*a.values()) * math.hypot(*b.values())
    return min(1.0, both / sizes) if sizes else 0.0


def _triples(text: str) -> set[str]:
    return {f" {word} "[at : at + 3] for word in _words(text) for at in range(len(word))}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
