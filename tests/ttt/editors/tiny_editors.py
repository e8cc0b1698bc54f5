"""A tiny model with its keys' moments, facts with subjects, and editors of every kind on them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from atlas.base.model import Transformer
from atlas.base.pieces import Pieces
from atlas.base.text import SYMBOLS
from atlas.draws import rng
from atlas.pool.facts import Fact
from atlas.study.editor_settings import Editing
from atlas.ttt.editors.covariance import key_moments
from atlas.ttt.editors.editor import Editor
from atlas.ttt.editors.writer import make_editor
from tests.ttt.tiny_run import FILES
from tests.ttt.tiny_ttt import make_facts, make_model

SEARCH = {"steps": 4, "lr": 0.1}
METHODS = {
    "rome": {"method": "rome", "layer": 1},
    "r_rome": {"method": "r_rome", "layer": 0},
    "memit": {"method": "memit", "layers": [0, 1], "covariance_weight": 10.0},
    "memit_looking_back": {"method": "memit", "layers": [0, 1], "covariance_weight": 10.0, "look_back": True},
    "alphaedit": {"method": "alphaedit", "layers": [0, 1], "null_share": 0.3, "ridge": 0.1},
}
FACTS = [replace(fact, subject=fact.prompt[13:-3], subject_start=13) for fact in make_facts(8)]


def settings(method: str, **changes: Any) -> Editing:
    kind: TypeAdapter[Editing] = TypeAdapter(Editing)
    shared = {"contexts": {"count": 1, "characters": 4}, "value": SEARCH}
    return kind.validate_python(shared | METHODS[method] | changes)


def pieces() -> Pieces:
    """How a model of pieces reads: characters, some of them joined, and a start that is no text."""
    symbols = [*SYMBOLS, "th", " th", "<s>"]
    made = Tokenizer(models.BPE(vocab={one: at for at, one in enumerate(symbols)}, merges=[("t", "h"), (" ", "th")]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Split("\n", "isolated"), decoders.Fuse()
    made.add_special_tokens(["<s>"])
    config = {"vocab_size": len(symbols), "bos_token_id": len(symbols) - 1}
    return Pieces.parse(json.loads(made.to_str()), config, "tokenizer.json")


def windows(count: int = 40, length: int = 32) -> np.ndarray:
    return rng("tiny windows").integers(len(SYMBOLS), size=(count, length)).astype(np.uint8)


def editor(method: str, lanes: int = 1, model: Transformer | None = None, **changes: Any) -> Editor:
    model = model or make_model()
    return make_editor(settings(method, **changes), model, key_moments(model, windows()), lanes, 0, "pool")


def base_options(folder: Path, out: Path) -> list[str]:
    """The options of a step that measures the certified base of a folder."""
    named = ("corpus", "checkpoint", "manifest", "certificate")
    return [text for name in named for text in (f"--{name}", str(folder / FILES[name]))] + ["--out", str(out)]


def theta(one: Editor) -> torch.Tensor:
    return one.state.theta


def edited(method: str, *sessions: Sequence[Sequence[Fact]], **changes: Any) -> np.ndarray:
    """What the sessions of an editor add to the matrices, (lanes, parameters)."""
    one = editor(method, lanes=len(sessions[0]), **changes)
    for facts in sessions:
        one.edit(facts)
    return one.state.theta.numpy()
