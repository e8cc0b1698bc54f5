"""What is asked of an editor: a fact's sentence, alone and behind random texts, and the characters to write it at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.base.text import NEWLINE, encode
from atlas.editing import Site
from atlas.errors import AtlasError
from atlas.pool.facts import Fact
from atlas.ttt.lines import Line, line

ESSENCE = "{} is a"  # the prompt whose continuation an edit should leave alone (Meng et al. 2022, section 3.1)


@dataclass(frozen=True)
class Request:
    """One fact to write.

    Attributes:
        lines: the sentence as taught, then behind each of the random texts.
        places: int64, (lines, keys): the tokens of each line whose keys the fact is written to.
        essences: the subject's essence prompt; empty where the site has no place in it.
        essence_places: int64, (keys,): the same characters in the essence prompt.
    """

    lines: tuple[Line, ...]
    places: np.ndarray
    essences: tuple[Line, ...]
    essence_places: np.ndarray

    @property
    def all_lines(self) -> tuple[Line, ...]:
        """What a pass has to run: sentences, then essence prompts."""
        return (*self.lines, *self.essences)

    @property
    def keys(self) -> int:
        """How many keys the fact is written to."""
        return int(self.places.shape[1])

    @property
    def characters(self) -> int:
        """Tokens of a pass."""
        return sum(item.characters for item in self.all_lines)


def request(fact: Fact, site: Site, contexts: Sequence[np.ndarray], origin: str) -> Request:
    """The request for a fact.

    Args:
        fact: what to write.
        site: where to write it.
        contexts: the random texts, uint8 tokens.
        origin: the pool's name, for errors.

    Raises AtlasError where the site is in the subject and the fact has none, or a character has no token.
    """
    named = f"{origin}: fact {fact.fact_id}"
    alone = line(fact.prompt, fact.answer, named)
    lines = (alone, *(_behind(context, alone) for context in contexts))
    shifts = np.array([item.characters - alone.characters for item in lines])
    places = shifts[:, None] + _places(fact, site, named)
    if site == "answer" or fact.subject is None:  # nothing of the site is in an essence prompt, or there is none
        return Request(lines, places, (), np.arange(0))
    return Request(lines, places, (_essence(fact.subject, named),), _essence_places(fact.subject, site))


def _behind(context: np.ndarray, item: Line) -> Line:
    """The line with a text in front: line end, text, line end, sentence."""
    ahead = np.concatenate([item.tokens[:1], context])
    return Line(np.concatenate([ahead, item.tokens]), len(ahead) + item.answer)


def _places(fact: Fact, site: Site, named: str) -> np.ndarray:
    """Tokens of the sentence at a site. Token 0 is the line end in front, so character i is token i + 1."""
    space = len(fact.prompt) + 1  # before the answer
    if site == "answer":
        return np.arange(space, space + len(fact.answer) + 1)
    if site == "prompt_last":
        return np.array([space - 1])
    if fact.subject_start is None or fact.subject_end is None:
        raise AtlasError(
            f"{named} has no subject, which an editor with site {site!r} needs; add the column 'subject' to the pool, "
            "or choose site answer or prompt_last"
        )
    return _in_subject(site, fact.subject_start + 1, fact.subject_end)


def _in_subject(site: Site, first: int, last: int) -> np.ndarray:
    """Tokens at a site that goes by the subject, whose tokens are ``first`` to ``last``."""
    if site == "subject":
        return np.arange(first, last + 1)
    return np.array([last if site == "subject_last" else last + 1])


def _essence(subject: str, named: str) -> Line:
    """The essence prompt, all of it read: what a line does not read is its last token, here a line end."""
    prompt = ESSENCE.format(subject[0].upper() + subject[1:])
    ends = np.array([NEWLINE], np.uint8)
    tokens = np.concatenate([ends, encode(prompt, named), ends])
    return Line(tokens, answer=len(tokens))


def _essence_places(subject: str, site: Site) -> np.ndarray:
    if site == "prompt_last":
        return np.array([len(ESSENCE.format(subject))])
    return _in_subject(site, 1, len(subject))
