"""Text as tokens: a token a character for models that are pretrained here, pieces of words for those of others.

Own models read printable ASCII and newline, 96 symbols.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from atlas.errors import AtlasError

SYMBOLS = "\n" + "".join(map(chr, range(32, 127)))
NEWLINE = 0
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
        """Token ids of a text, (tokens,). AtlasError where a character has none."""

    def opening(self, prompt: str, origin: str) -> np.ndarray:
        """All that comes before an answer, from the start of a line on."""

    def answer(self, answer: str, origin: str) -> np.ndarray:
        """An answer behind its prompt, with the line end."""

    def decode(self, tokens: np.ndarray) -> str:
        """What tokens behind a prompt say, without the space between."""

    def token_at(self, prompt: str, place: int) -> int:
        """Which token of a prompt's opening holds one of the prompt's characters, or the last of it."""

    def characters(self, tokens: np.ndarray) -> int:
        """How many characters tokens stand for."""


class Characters:
    """A token a character. A line begins behind a line end, an answer behind its prompt and a space."""

    symbols, dtype, start, unique = len(SYMBOLS), np.uint8, NEWLINE, True
    line_ends = np.arange(len(SYMBOLS)) == NEWLINE
    special = np.zeros(len(SYMBOLS), bool)

    def encode(self, text: str, origin: str = "text") -> np.ndarray:
        return encode(text, origin)

    def opening(self, prompt: str, origin: str) -> np.ndarray:
        return np.concatenate([np.array([NEWLINE], np.uint8), encode(f"{prompt} ", origin)])

    def answer(self, answer: str, origin: str) -> np.ndarray:
        return encode(f"{answer}\n", origin)

    def decode(self, tokens: np.ndarray) -> str:
        return decode(tokens)

    def token_at(self, prompt: str, place: int) -> int:  # noqa: ARG002
        return place + 1  # behind the line end

    def characters(self, tokens: np.ndarray) -> int:
        return len(tokens)


CHARACTERS = Characters()


@dataclass(frozen=True)
class Pieces:
    """Pieces of words, by a tokenizer of the library ``tokenizers``. A piece may hold the space in front of a word.

    The prompt, the answer with the space before it, and the line end are split apart from one another, so that a
    prompt has the same tokens whatever follows it.
    """

    tokenizer: Any
    start: int
    symbols: int
    dtype, unique = np.uint32, False

    @classmethod
    def parse(cls, tokenizer: Any, config: Mapping[str, Any], origin: str) -> Pieces:
        """From the content of a tokenizer.json and the model's config, which says how many tokens there are and which
        one begins a text; where it says none, a line begins behind a line end. AtlasError where it is no tokenizer.
        """
        from tokenizers import Tokenizer  # comes with transformers, which only such bases need

        try:
            made = Tokenizer.from_str(json.dumps(tokenizer))
        except Exception as error:  # the library raises nothing narrower
            raise AtlasError(f"{origin}: not a tokenizer ({error}); give the model's own tokenizer.json") from None
        made.no_truncation()
        named = [config.get(key) for key in ("bos_token_id", "eos_token_id")]
        starts = [token for token in named if isinstance(token, int)]
        return cls(made, starts[0] if starts else made.encode("\n").ids[-1], int(config["vocab_size"]))

    def encode(self, text: str, origin: str = "text") -> np.ndarray:
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        if ids and max(ids) >= self.symbols:
            raise AtlasError(f"{origin}: token {max(ids)}, but the model has {self.symbols}; give it its own tokenizer")
        return np.array(ids, self.dtype)

    def opening(self, prompt: str, origin: str) -> np.ndarray:
        return np.concatenate([np.array([self.start], self.dtype), self.encode(prompt, origin)])

    def answer(self, answer: str, origin: str) -> np.ndarray:
        return np.concatenate([self.encode(f" {answer}", origin), self.encode("\n", origin)])

    def decode(self, tokens: np.ndarray) -> str:
        return self._text(tokens).removeprefix(" ")

    @cached_property
    def line_ends(self) -> np.ndarray:
        texts = self.tokenizer.decode_batch([[token] for token in range(self.symbols)], skip_special_tokens=False)
        return np.array(["\n" in text for text in texts])

    @cached_property
    def special(self) -> np.ndarray:
        texts = self.tokenizer.decode_batch([[token] for token in range(self.symbols)], skip_special_tokens=True)
        return np.array([not text for text in texts])

    def token_at(self, prompt: str, place: int) -> int:
        ends = [end for _, end in self.tokenizer.encode(prompt, add_special_tokens=False).offsets]
        return 1 + next(token for token, end in enumerate(ends) if end > place)  # behind the start

    def characters(self, tokens: np.ndarray) -> int:
        return len(self._text(tokens))

    def _text(self, tokens: np.ndarray) -> str:
        text: str = self.tokenizer.decode(tokens.tolist(), skip_special_tokens=False)
        return text
