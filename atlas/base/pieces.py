"""Pieces of words as tokens: how a model from outside reads text, by its own tokenizer.

A piece may hold the space in front of a word, a part of a character, or a line end with what stands before it. So a
sentence is encoded as a whole, and cut where its prompt ends.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from atlas.base.text import PARTIAL, Sentence, gap
from atlas.errors import INSTALL_LM, AtlasError
from atlas.study.model_shape import CONFIG, read_config, shape_of

TOKENIZER, GGUF = "tokenizer.json", ".gguf"
OWN = "give it its own tokenizer"
AHEAD = "a"  # a text that others are decoded behind: some decoders drop a space in front
BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # a token of one byte, for characters without a token
LINE_END_AS_BYTES = "\u010a"  # the piece of a line end where pieces are written in GPT-2's alphabet of bytes
CONTINUED = {*map(chr, (*range(0xA1, 0xAD), *range(0xAE, 0xC0), *range(0x122, 0x144)))}
"""There, the bytes within a character but its first: 0x80 to 0xbf."""


@dataclass(frozen=True)
class Pieces:
    """Pieces of words, by a tokenizer of the library ``tokenizers``."""

    tokenizer: Any
    start: int
    symbols: int
    dtype, unique = np.uint32, False

    @classmethod
    def parse(cls, tokenizer: Any, config: Mapping[str, Any], origin: str) -> Pieces:
        """From the content of a tokenizer.json and the model's config, which says how many tokens there are.

        A text begins with what the tokenizer puts in front; where that is nothing, with the token that the config has
        for the begin or the end of a text; where it has none, behind a line end.

        Raises AtlasError where it is no tokenizer, or where sentences cannot be taught with it: it does not give a line
        end back, puts several tokens in front, or encodes a prompt alone otherwise than before its answer.
        """
        try:
            from tokenizers import Tokenizer  # comes with transformers, which only such bases need
        except ImportError as error:
            raise AtlasError(f"{origin}: reading it takes {error.name}; {INSTALL_LM}") from None
        try:
            made = Tokenizer.from_str(json.dumps(tokenizer))
        except Exception as error:  # the library raises nothing narrower
            raise AtlasError(
                f"{origin}: not a tokenizer ({' '.join(str(error).split())}); give the model's own {TOKENIZER}"
            ) from None
        made.no_truncation()
        made.no_padding()
        sample = made.encode(AHEAD)
        if "\n" not in made.decode(made.encode(f"{AHEAD}\n").ids, skip_special_tokens=False):
            raise AtlasError(f"{origin}: has no token for a line end, with which answers end; take another model")
        ahead = [*sample.ids][: [*sample.special_tokens_mask, 0].index(0)]
        if len(ahead) > 1:
            raise AtlasError(
                f"{origin}: puts {len(ahead)} tokens in front of a text ({' '.join(sample.tokens[: len(ahead)])}), "
                "expected one or none; take another model"
            )
        symbols = int(config["vocab_size"])
        named = [config.get(key) for key in ("bos_token_id", "eos_token_id")]
        there = [token for token in named if isinstance(token, int) and 0 <= token < symbols]
        found = cls(made, [*ahead, *there, *made.encode("\n").ids[-1:], 0][0], symbols)
        if found.start >= found.symbols:
            raise AtlasError(f"{origin}: token {found.start} begins a text, but the model has {found.symbols}; {OWN}")
        found.sentence(AHEAD, AHEAD, origin)  # or it says what is not as it must be
        return found

    def encode(self, text: str, origin: str = "text") -> np.ndarray:
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        if ids and max(ids) >= self.symbols:
            raise AtlasError(f"{origin}: token {max(ids)}, but the model has {self.symbols}; {OWN}")
        said = self.tokenizer.decode(ids, skip_special_tokens=False)
        same, given = (unicodedata.normalize("NFC", some.removeprefix(" ")) for some in (text, said))
        if same != given:
            differ = (at for at, (one, other) in enumerate(zip(same, given, strict=False)) if one != other)
            place = next(differ, min(len(same), len(given)))
            line, column = same.count("\n", 0, place) + 1, place - same.rfind("\n", 0, place)
            lost = f"character {same[place]!r} (U+{ord(same[place]):04X})" if place < len(same) else "the end"
            raise AtlasError(
                f"{origin}: {lost} at line {line}, column {column} is not read by the model's tokenizer, which gives "
                f"{given[place : place + 8]!r} there; write it otherwise, or take a model that reads it"
            )
        return np.array(ids, self.dtype)

    def opening(self, prompt: str, origin: str) -> np.ndarray:
        return np.concatenate([np.array([self.start], self.dtype), self.encode(prompt, origin)])

    def sentence(self, prompt: str, answer: str, origin: str) -> Sentence:
        opening = self.opening(prompt, origin)
        tokens = self.opening(f"{prompt}{gap(prompt)}{answer}\n", origin)
        same = tokens[: len(opening)] == opening
        if not same.all():
            piece = self.verbatim(tokens[same.argmin() :][:1])
            raise AtlasError(
                f"{origin}: the model's tokenizer joins the end of the prompt {prompt!r} to the answer {answer!r}, in "
                f"{piece!r}, so the prompt cannot be asked alone; end the prompt otherwise, with a colon, say"
            )
        return Sentence(tokens, len(opening))

    def verbatim(self, tokens: np.ndarray) -> str:
        ids = tokens.tolist()
        for cut in range(4):  # where bytes are tokens, those of a character that is cut off spoil the ones before it
            text = self._said([ids[: len(ids) - cut]])[0]
            if not text.endswith(PARTIAL):
                return text + PARTIAL * (cut > 0)
        return self._said([ids])[0]

    def decode(self, tokens: np.ndarray) -> str:
        return self.verbatim(tokens).removeprefix(" ")

    @cached_property
    def line_ends(self) -> np.ndarray:
        return np.array(["\n" in text for text in self._texts])

    @cached_property
    def special(self) -> np.ndarray:
        texts = self.tokenizer.decode_batch([[token] for token in range(self.symbols)], skip_special_tokens=True)
        return np.array([not text for text in texts])

    def span(self, prompt: str, start: int, end: int) -> tuple[int, int]:
        offsets = self.tokenizer.encode(prompt, add_special_tokens=False).offsets
        holding = [at for at, (first, behind) in enumerate(offsets) if behind > start and first < end]
        return 1 + holding[0], 1 + holding[-1]  # behind the start

    def characters(self, tokens: np.ndarray) -> int:
        return int(self._begun[tokens].sum())

    def _said(self, each: Sequence[list[int]]) -> list[str]:
        """What some tokens each say behind others."""
        ahead = self._ahead
        before, *whole = self.tokenizer.decode_batch(
            [ahead, *(ahead + some for some in each)], skip_special_tokens=False
        )
        return [text[len(before) :] for text in whole]

    @cached_property
    def _ahead(self) -> list[int]:
        tokens: list[int] = self.encode(AHEAD).tolist()
        return tokens

    @cached_property
    def _texts(self) -> list[str]:
        """What each token says behind others, (symbols,); of no use for one that holds a part of a character."""
        return self._said([[token] for token in range(self.symbols)])

    @cached_property
    def _begun(self) -> np.ndarray:
        """How many characters begin in each token, int64 (symbols,)."""
        pieces = [self.tokenizer.id_to_token(token) or "" for token in range(self.symbols)]
        if pieces[int(self.encode("\n")[-1])] == LINE_END_AS_BYTES:
            return np.array([sum(some not in CONTINUED for some in piece) for piece in pieces])
        bytes_of = [BYTE.fullmatch(piece) for piece in pieces]
        each = zip(bytes_of, self._texts, strict=True)
        return np.array([int(int(one[1], 16) & 0xC0 != 0x80) if one else len(text) for one, text in each])


def text_of(model: Path) -> tuple[Pieces, int]:
    """How a model from outside reads text, and its context in tokens: of a folder or a GGUF file; no weights are read.

    Raises AtlasError where there is no tokenizer, or one that sentences cannot be taught with.
    """
    context, tokenizer = shape_of(model).context, _tokenizer_of(model)
    if model.suffix != GGUF:
        return Pieces.parse(tokenizer, read_config(model / CONFIG), f"{model / TOKENIZER}"), context
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model.parent, gguf_file=model.name).to_dict()
    return Pieces.parse(tokenizer, config, str(model)), context


def _tokenizer_of(model: Path) -> Any:
    """The tokenizer of a model in a folder or a GGUF file, as JSON, as the library `tokenizers` writes it.

    The guard reads GGUF, too, but by way of torch, which the steps of the pool do without. AtlasError where there is
    none.
    """
    path, files = model / TOKENIZER, [model] if model.suffix == GGUF else [*model.glob(f"*{GGUF}")]
    if path.is_file() or len(files) != 1:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise AtlasError(
                f"{path}: no such file; save the model's fast tokenizer there with save_pretrained"
            ) from None
        except ValueError as error:
            raise AtlasError(f"{path}: not a tokenizer ({error}); give the model's own {TOKENIZER}") from None
    try:
        from transformers import AutoTokenizer

        made = AutoTokenizer.from_pretrained(files[0].parent, gguf_file=files[0].name)
        return json.loads(made.backend_tokenizer.to_str())
    except Exception as error:  # the library does not say what it raises
        raise AtlasError(
            f"{files[0]}: no tokenizer can be made of it ({' '.join(str(error).split())}); take the model's folder"
        ) from None
