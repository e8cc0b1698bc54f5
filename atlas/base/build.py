"""The model of a base without its weights, and its parts by name: one pretrained here, or one from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.base.language import LanguageModel
from atlas.base.model import Transformer
from atlas.base.text import Pieces, Text
from atlas.errors import AtlasError
from atlas.guard.names import Layout, layout, own_parts
from atlas.guard.parts import Part
from atlas.study.base_settings import Base, Model
from atlas.study.model_shape import INSTALL, shape_from
from atlas.workflow import files

CONFIG, TOKENIZER = "lm.json", "tokenizer.json"  # of a base from outside, beside its checkpoint
BODY, OUT = "body", "out"  # where a hosted model holds all but its head, and a head of its own
FUSED = re.compile(r"(.*)\.(weight|bias)\[(\w)\]")


def empty_model(base: Base, folder: Path) -> LanguageModel:
    """The model of a base, waiting for its weights: no tensor holds a number that could be taken for one.

    Args:
        folder: where the config and the tokenizer of a model from outside lie.
    """
    if isinstance(base.model, Model):
        with torch.device("meta"):
            return Transformer(base.model)
    config = files.read_json(folder / CONFIG)
    return hosted(config, Pieces.parse(files.read_json(folder / TOKENIZER), config, str(folder / TOKENIZER)))


def hosted(config: Mapping[str, Any], text: Text) -> LanguageModel:
    """A model from outside, all its numbers not a number; what it computes, such as rotary frequencies, is there."""
    try:
        from atlas.base.hosted import Hosted  # takes transformers, which only such bases need
    except ImportError as error:
        raise AtlasError(f"base.model: a language model from outside takes {error.name}; {INSTALL}") from None
    model = Hosted(config, shape_from(config, CONFIG), text)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    return model


def parts_of_base(model: LanguageModel, folder: Path) -> list[Part]:
    """The parts of a base, for checks."""
    if isinstance(model, Transformer):
        return own_parts(model)
    expected = layout(files.read_json(folder / CONFIG), str(folder / CONFIG))
    return list(_hosted_parts(model.state_dict(), expected))


def _hosted_parts(tensors: Mapping[str, Tensor], expected: Layout) -> Iterator[Part]:
    rows = expected.rows if expected.tied else (*expected.rows, expected.head)
    for row in rows:
        for part in replace(row, unused=0).parts(torch.empty(row.shape, device="meta")):
            name = hosted_name(part, expected)
            yield replace(part, name=name, tensor=name, values=tensors[name][row.unused :])


def hosted_name(part: Part, expected: Layout) -> str:
    """The name of a part of a foreign checkpoint in a hosted model."""
    if part.role == "head":
        return f"{OUT}.weight"
    name = part.name.removeprefix(expected.prefix)
    if fused := FUSED.fullmatch(name):
        name = "{0}.{2}.{1}".format(*fused.groups())
    return f"{BODY}.{name}"
