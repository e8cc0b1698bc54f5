"""How alike two prompts are, by their words: letters and digits of any script."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

MIN_CHANGED = 3  # words; a swap of one word changes 1
# Thai to Tibetan, Myanmar, Khmer, kana, Han: written without spaces, so each letter counts as a word
SPACELESS = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
LETTER = rf"[^\W_{SPACELESS}]"
LETTERS = f"{LETTER}+"
WORD = re.compile(rf"[{SPACELESS}]|{LETTERS}(?:['\u2019-]{LETTERS})*")


def plain(text: str) -> str:
    """A text without regard to case, and to the marks on its letters and how these are stored."""
    if not text.isascii():
        letters = unicodedata.normalize("NFKD", text)
        text = "".join(letter for letter in letters if not unicodedata.category(letter).startswith("M"))
    return text.casefold()


@lru_cache(maxsize=64)  # a prompt is compared with every other prompt of its fact
def words(text: str) -> tuple[str, ...]:
    """The words of a text; what is written with an apostrophe or a hyphen is one."""
    return tuple(WORD.findall(plain(text)))


def stands_in(answer: str, prompt: str) -> bool:
    """Whether a prompt has an answer in it, as words of its own: "Peru" is in "Peru's capital", "no" not in "know"."""
    text, whole = plain(answer), plain(prompt)
    if not text or text not in whole:
        return False
    edge = f"(?:(?<!{LETTER})|(?!{LETTER}))"  # no letter on one of the two sides
    return bool(re.search(edge + re.escape(text) + edge, whole))


def changed_words(one: str, other: str) -> int:
    """How many words of the longer prompt are new or moved, compared with the other prompt.

    It is the longer prompt's word count less the longest common subsequence of words (no case, no punctuation): the
    words that both prompts have in the same order. Swapping one word gives 1, swapping two gives 2, turning
    "The capital of Peru is" into "Peru has as its capital" gives 4.
    """
    a, b = words(one), words(other)
    row = [0] * (len(b) + 1)  # lengths of the longest common subsequences of a's words so far and b's first ones
    for word in a:
        above, row = row, [0]
        for column, candidate in enumerate(b):
            row.append(above[column] + 1 if word == candidate else max(above[column + 1], row[column]))
    return max(len(a), len(b)) - row[-1]


def rebuilt(one: str, other: str) -> bool:
    """Whether two prompts are built differently: a shared word stands at another place, counted in words.

    Prompts that share at most half of the shorter one's words (the subject, say) are built differently anyway.
    """
    few = 2 * _shared(one, other) <= min(len(words(one)), len(words(other)))
    a, b = _places(one), _places(other)
    return few or any(places != b[word] for word, places in a.items() if word in b)


def differ(one: str, other: str) -> bool:
    """Whether two prompts differ in wording and word order, not only in one word.

    Wording: at least 3 words are new or moved (`changed_words`) and at least 1 is new. Word order: `rebuilt`.
    """
    new = max(len(words(one)), len(words(other))) - _shared(one, other)  # as many have changed in any case
    return new > 0 and (new >= MIN_CHANGED or changed_words(one, other) >= MIN_CHANGED) and rebuilt(one, other)


def _shared(one: str, other: str) -> int:
    """How many words two prompts have in common, wherever they stand."""
    a, b = _places(one), _places(other)
    return sum(min(len(places), len(b[word])) for word, places in a.items() if word in b)


@lru_cache(maxsize=64)
def _places(text: str) -> dict[str, list[int]]:
    """Where each word stands, counted in words."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words(text)):
        places.setdefault(word, []).append(place)
    return places
