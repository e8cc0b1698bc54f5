"""What is asked of an editor: a fact's sentence, alone and behind random texts, and the characters to write it at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.base.text import CHARACTERS, Text
from atlas.errors import AtlasError
from atlas.pool.facts import Fact
from atlas.study.editor_settings import Site
from atlas.ttt.engine.lines import Line, line

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
        return sum(item.predicted for item in self.all_lines)


def request(fact: Fact, site: Site, contexts: Sequence[np.ndarray], origin: str, text: Text = CHARACTERS) -> Request:
    """The request for a fact.

    Args:
        fact: what to write.
        site: where to write it.
        contexts: the random texts, tokens.
        origin: the pool's name, for errors.
        text: how the model reads.

    Raises AtlasError where the site is in the subject and the fact has none, or a character has no token.
    """
    named = f"{origin}: fact {fact.fact_id}"
    alone = line(fact.prompt, fact.answer, named, text)
    lines = (alone, *(_behind(context, alone) for context in contexts))
    shifts = np.array([item.predicted - alone.predicted for item in lines])
    places = shifts[:, None] + _places(fact, site, alone, named, text)
    if site == "answer" or fact.subject is None:  # nothing of the site is in an essence prompt, or there is none
        return Request(lines, places, (), np.arange(0))
    return Request(lines, places, (_essence(fact.subject, named, text),), _essence_places(fact.subject, site, text))


def _behind(context: np.ndarray, item: Line) -> Line:
    """The line with a text in front: line end, text, line end, sentence."""
    ahead = np.concatenate([item.tokens[:1], context])
    return Line(np.concatenate([ahead, item.tokens]), len(ahead) + item.answer)


def _places(fact: Fact, site: Site, alone: Line, named: str, text: Text) -> np.ndarray:
    """Tokens of the sentence at a site."""
    if site == "answer":  # what predicts the answer and its line end
        return np.arange(alone.answer - 1, alone.predicted)
    if site == "prompt_last":
        return np.array([text.token_at(fact.prompt, len(fact.prompt) - 1)])
    if fact.subject_start is None or fact.subject_end is None:
        raise AtlasError(
            f"{named} has no subject, which an editor with site {site!r} needs; add the column 'subject' to the pool, "
            "or choose site answer or prompt_last"
        )
    return _in_subject(site, fact.prompt, fact.subject_start, fact.subject_end, text)


def _in_subject(site: Site, prompt: str, start: int, end: int, text: Text) -> np.ndarray:
    """Tokens at a site that goes by the subject, the characters from ``start`` to before ``end`` of a prompt."""
    first, last = text.token_at(prompt, start), text.token_at(prompt, end - 1)
    if site == "subject":
        return np.arange(first, last + 1)
    return np.array([last if site == "subject_last" else last + 1])


def _essence(subject: str, named: str, text: Text) -> Line:
    """The essence prompt, all of it read: what a line does not read is its last token, here a line end."""
    ends = np.array([text.start], text.dtype)
    tokens = np.concatenate([ends, text.encode(_essence_prompt(subject), named), ends])
    return Line(tokens, answer=len(tokens))


def _essence_prompt(subject: str) -> str:
    return ESSENCE.format(subject[0].upper() + subject[1:])


def _essence_places(subject: str, site: Site, text: Text) -> np.ndarray:
    prompt = _essence_prompt(subject)
    if site == "prompt_last":
        return np.array([text.token_at(prompt, len(prompt) - 1)])
    return _in_subject(site, prompt, 0, len(subject), text)
