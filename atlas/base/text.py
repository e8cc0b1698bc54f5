"""Text: one token per character, printable ASCII and newline, 96 symbols."""

from __future__ import annotations

from collections.abc import Sequence

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
        raise AtlasError(_complaint(text, int(bad[0]), origin))
    return tokens


def _complaint(text: str, place: int, origin: str) -> str:
    line = text.count("\n", 0, place) + 1
    column = place - (text.rfind("\n", 0, place) + 1) + 1
    return (
        f"{origin}: character {text[place]!r} (U+{ord(text[place]):04X}) at line {line}, column {column} "
        "is not printable ASCII or newline; replace it with ASCII"
    )


def decode(tokens: Sequence[int] | np.ndarray) -> str:
    """The text of token ids; IndexError where one is not below 96."""
    return "".join(SYMBOLS[token] for token in tokens)
