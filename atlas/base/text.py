"""How a model reads text, and how own models do: a token a character, of printable ASCII and newline, 96 symbols.

Models from outside read pieces of words (``atlas.base.pieces``).
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from atlas.errors import AtlasError

SYMBOLS = "\n" + "".join(map(chr, range(32, 127)))
NEWLINE = 0
UNSPACED = (  # what names of letters begin with, of scripts that are written without spaces between words
    *("CJK ", "IDEOGRAPHIC ", "HIRAGANA ", "KATAKANA", "HALFWIDTH KATAKANA", "BOPOMOFO ", "YI SYLLABLE"),
    *("THAI ", "LAO ", "KHMER ", "MYANMAR ", "TIBETAN ", "TAI ", "NEW TAI ", "JAVANESE ", "BALINESE "),
)
PARTIAL = "\ufffd"  # what stands for a character of which tokens hold only a part
_TOKEN_OF = np.full(256, 255, dtype=np.uint8)
_TOKEN_OF[[ord(symbol) for symbol in SYMBOLS]] = np.arange(len(SYMBOLS))


def encode(text: str, origin: str = "text") -> np.ndarray:
    """Token ids of a text, uint8, shape (characters,).

    Raises AtlasError naming the first character that is not one of the 96 symbols, with its line and column.
    """
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    tokens = _TOKEN_OF[np.minimum(codes, 255)]
    bad = np.flatnonzero((tokens == 255) | (codes > 255))
    if bad.size:
        place = int(bad[0])
        line, column = text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)
        raise AtlasError(
            f"{origin}: character {text[place]!r} (U+{ord(text[place]):04X}) at line {line}, column {column} "
            "is not printable ASCII or newline; replace it with ASCII"
        )
    return tokens


def decode(tokens: Sequence[int] | np.ndarray) -> str:
    """The text of token ids; IndexError where one is not below 96."""
    return "".join(SYMBOLS[token] for token in tokens)


def gap(prompt: str) -> str:
    """What stands between a prompt and its answer: a space, or nothing.

    Nothing, where the prompt ends with a space, an opening bracket or quotation mark, or wide punctuation, or where its
    last letter is of a script that is written without spaces.
    """
    last, before = prompt[-1:], prompt[-2:-1]
    kind = unicodedata.category(last) if last else ""
    quotes = kind in ("Pi", "Pf") or last in ('"', "'")  # which of them open depends on the language, or on their place
    if last.isspace() or kind == "Ps" or (quotes and (before.strip() == "" or unicodedata.category(before) == "Ps")):
        return ""
    if last in string.punctuation:
        return " "
    if kind.startswith("P") and unicodedata.east_asian_width(last) in "FW":
        return ""
    letter = next((some for some in reversed(prompt) if unicodedata.category(some).startswith("L")), " ")
    return "" if unicodedata.name(letter, "").startswith(UNSPACED) else " "


@dataclass(frozen=True)
class Sentence:
    """A prompt with an answer and the line end, as a model reads them.

    Attributes:
        tokens: unsigned, (tokens,): what a line begins behind, then those of the whole sentence.
        answer: index of the answer's first token, which may hold the space before it, too.
    """

    tokens: np.ndarray
    answer: int

    @property
    def behind(self) -> np.ndarray:
        """The answer and its line end, (tokens of them,)."""
        return self.tokens[self.answer :]


class Text(Protocol):
    """How a model reads text."""

    @property
    def symbols(self) -> int:
        """Tokens that there are."""

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """Of token ids."""

    @property
    def start(self) -> int:
        """What stands in front of a line."""

    @property
    def line_ends(self) -> np.ndarray:
        """Which tokens hold a line end, bool (symbols,)."""

    @property
    def special(self) -> np.ndarray:
        """Which tokens stand for no text, such as the end of one, bool (symbols,)."""

    @property
    def unique(self) -> bool:
        """Whether no other tokens than its own give a text."""

    def encode(self, text: str, origin: str = "text") -> np.ndarray:
        """Token ids of a text, (tokens,). AtlasError naming a character that cannot be read, or is read as another."""

    def opening(self, prompt: str, origin: str) -> np.ndarray:
        """All that comes before an answer, from the start of a line on, (tokens,). AtlasError as of ``encode``."""

    def sentence(self, prompt: str, answer: str, origin: str) -> Sentence:
        """Prompt, answer and line end, encoded together: its first tokens are the prompt's ``opening``.

        Raises AtlasError as of ``encode``, and where the prompt has other tokens before this answer than alone.
        """

    def verbatim(self, tokens: np.ndarray) -> str:
        """What tokens behind a prompt say, with the space between where they hold it."""

    def decode(self, tokens: np.ndarray) -> str:
        """What tokens behind a prompt say, without the space between."""

    def span(self, prompt: str, start: int, end: int) -> tuple[int, int]:
        """The first and the last token of a prompt's opening that hold its characters from ``start`` to before
        ``end``."""

    def characters(self, tokens: np.ndarray) -> int:
        """How many characters begin in some tokens."""


class Characters:
    """A token a character. A line begins behind a line end, an answer behind its prompt and the space."""

    symbols, dtype, start, unique = len(SYMBOLS), np.uint8, NEWLINE, True
    line_ends = np.arange(len(SYMBOLS)) == NEWLINE
    special = np.zeros(len(SYMBOLS), bool)

    def encode(self, text: str, origin: str = "text") -> np.ndarray:
        return encode(text, origin)

    def opening(self, prompt: str, origin: str) -> np.ndarray:
        return np.concatenate([np.array([NEWLINE], np.uint8), encode(prompt + gap(prompt), origin)])

    def sentence(self, prompt: str, answer: str, origin: str) -> Sentence:
        opening = self.opening(prompt, origin)
        return Sentence(np.concatenate([opening, encode(f"{answer}\n", origin)]), len(opening))

    def verbatim(self, tokens: np.ndarray) -> str:
        return decode(tokens)

    def decode(self, tokens: np.ndarray) -> str:
        return decode(tokens)

    def span(self, prompt: str, start: int, end: int) -> tuple[int, int]:  # noqa: ARG002
        return start + 1, end  # behind the line end

    def characters(self, tokens: np.ndarray) -> int:
        return len(tokens)


CHARACTERS = Characters()
