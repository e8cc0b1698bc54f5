"""A text as the tokens of somebody's language model, and that model itself, as `transformers` loads it.

``transformers`` and ``tokenizers`` are imported when they are used: the guard does without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atlas.errors import INSTALL_LM, AtlasError
from atlas.guard.arrangements import functional
from atlas.guard.formats import GgufFile, is_gguf
from atlas.guard.reading import checkpoint_in
from atlas.guard.report import Check
from atlas.guard.wiring import MARGIN

ENGLISH = "english"  # the name of the text that comes with the guard
ENGLISH_FILE = Path(__file__).with_name("english.txt")  # Lewis Carroll, "Alice's Adventures in Wonderland" (1865)
ENGLISH_MARGIN = 0.05  # nats a token that arrangements may gain on it: it need not be the kind of text a model knows
TOKENIZER = "tokenizer.json"

Text = str | Path | Tensor | Sequence[int]
"""A file, ``"english"``, or token ids."""


@dataclass(frozen=True)
class TextAsRead:
    """A text as a model reads it."""

    tokens: Tensor  # int64, (tokens,)
    before: list[int]  # what the tokenizer puts in front of every text
    margin: float  # nats a token that arrangements may gain on it

    @classmethod
    def of(cls, text: Text, tokenizer: Any, checkpoint: Path) -> TextAsRead:
        """Arguments are those of ``atlas.verify``. AtlasError where text or tokenizer cannot be read."""
        if not isinstance(text, str | Path):
            return cls(torch.as_tensor(text).flatten().to(torch.int64), [], MARGIN)
        words = read_text(text)
        reader = tokenizer_of(checkpoint) if tokenizer is None else tokenizer
        return cls(*tokens_of(words, reader), ENGLISH_MARGIN if text == ENGLISH else MARGIN)

    def judged_by(self, model: nn.Module, checkpoint: Path) -> list[Check]:
        """The functional checks of a causal language model. AtlasError where it does not have all the tokens."""
        asked: Any = model  # of `transformers`, perhaps
        embedding = asked.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
        rows = len(embedding.weight) if isinstance(embedding, nn.Embedding) else None
        if rows and len(self.tokens) and (most := int(self.tokens.max())) >= rows:
            raise AtlasError(
                f"{checkpoint}: the tokenizer gives the token {most}, the model has {rows}; take the model's own"
            )
        return functional(model, self.tokens, self.before, self.margin)


def read_text(text: str | Path) -> str:
    """A text file, or the text that is called ``english``. AtlasError where there is none."""
    path = ENGLISH_FILE if str(text) == ENGLISH else Path(text)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise AtlasError(
            f"{path}: no text ({reason}); give a text file, or {ENGLISH!r} for one that is at hand"
        ) from None


def tokenizer_of(checkpoint: Path) -> Any:
    """The tokenizer beside a checkpoint, or in its GGUF file, as the library `tokenizers` reads it."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise AtlasError(f"{checkpoint}: reading a text takes tokenizers; {INSTALL_LM}, or give token ids") from None
    file = checkpoint_in(checkpoint)
    path = file.parent / TOKENIZER
    if is_gguf(file) and not path.is_file():
        return Tokenizer.from_str(GgufFile(file).tokenizer())
    if not path.is_file():
        raise AtlasError(
            f"{path}: no such file; a text takes the model's tokenizer: put it there with save_pretrained, "
            "or call atlas.verify(model, checkpoint, text=..., tokenizer=...)"
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises Exception itself
        raise AtlasError(f"{path}: not a tokenizer ({' '.join(str(error).split())}); fetch it again") from None


def tokens_of(text: str, tokenizer: Any) -> tuple[Tensor, list[int]]:
    """A text's tokens, int64 (tokens,), and those that the tokenizer puts in front of every text.

    ``tokenizer``: of the library `tokenizers`, or of `transformers`.
    """

    def ids(text: str, special: bool) -> list[int]:
        found = tokenizer.encode(text, add_special_tokens=special)
        return list(getattr(found, "ids", found))

    if hasattr(tokenizer, "no_truncation"):  # a file may say that texts are cut off or filled up
        tokenizer.no_truncation()
        tokenizer.no_padding()
    letter, marked = ids("a", False), ids("a", True)
    at = next((at for at in range(len(marked)) if letter and marked[at : at + len(letter)] == letter), 0)
    return torch.tensor(ids(text, False), dtype=torch.int64), marked[:at]


def load(checkpoint: Path) -> nn.Module:
    """The causal language model of a folder or a GGUF file, in 32 bits, on the CPU.

    Raises AtlasError where `transformers` is missing, does not load it, or loads it without some of its tensors.
    """
    try:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError as error:
        raise AtlasError(f"{checkpoint}: running the model on a text takes {error.name}; {INSTALL_LM}") from None
    file = checkpoint_in(checkpoint)
    more: dict[str, Any] = {"gguf_file": file.name} if is_gguf(file) else {"output_loading_info": True}
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(StringIO()):  # bars of its own while it reads GGUF
            made = AutoModelForCausalLM.from_pretrained(
                file.parent, dtype=torch.float32, local_files_only=True, trust_remote_code=False, **more
            )
    except Exception as error:  # whatever the library raises on a folder that it cannot use
        raise AtlasError(
            f"{checkpoint}: transformers does not load it ({' '.join(str(error).split())[:300]})"
        ) from None
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    model, told = made if isinstance(made, tuple) else (made, {})
    if missed := sorted([*told.get("missing_keys", ()), *map(str, told.get("mismatched_keys", ()))]):
        raise AtlasError(
            f"{checkpoint}: transformers loads it without {', '.join(missed[:3])} ({len(missed)} in all), so that it "
            "cannot be judged by a text; mend the names in the file"
        )
    whole: nn.Module = model.requires_grad_(False)
    return whole
