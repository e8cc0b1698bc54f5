"""Language models of the library ``transformers`` as bases: its code works out all but attention.

Attention over packed lines is ours (``atlas.base.attention``), through the library's own interface for that. So lines
of many facts lie behind one another in one row here, too, and a tree of alternatives sees what it may.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.base.architectures import FUSED, FUSED_ROLES, MAPS, unfuse
from atlas.base.attention import Packed
from atlas.base.language import LanguageModel, Mask
from atlas.base.text import Text
from atlas.errors import INSTALL_LM, AtlasError
from atlas.guard.tensors import WeightPart
from atlas.study.base_settings import Model
from atlas.study.model_shape import shape_from

CONFIG = "lm.json"  # of such a model, beside its checkpoint
BODY, OUT = "body", "out"  # where it holds all but its head, and a head of its own
FUSED_PART = re.compile(r"(.*)\.(weight|bias)\[(\w)\]")  # the name of a part of a fused tensor
ATTENTION = "atlas_packed"
LINES = "atlas_lines"  # the attribute under which a module finds where the lines of its row are
SHARED = {f"{name}.{role}" for name in FUSED for role in FUSED_ROLES}


@dataclass
class Lines:
    """Where the lines of the row are that runs now; shared by all attention modules of a model."""

    packed: Packed | None = None


class Hosted(LanguageModel):
    """A causal language model of the library. AtlasError where that is not installed.

    Args:
        config: a `transformers` config, the content of config.json.
        shape: what the rest of Atlas asks of a model's shape.
        text: how it reads.
    """

    def __init__(self, config: Mapping[str, Any], shape: Model, text: Text) -> None:
        try:
            from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM  # only such bases need it
        except ImportError as error:
            raise AtlasError(f"base.model: a language model from outside takes {error.name}; {INSTALL_LM}") from None
        super().__init__()
        kind = str(config["model_type"])
        self.text, self.roles = text, MAPS[kind].inside(BODY)
        AttentionInterface.register(ATTENTION, _attend)
        whole = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(**config), attn_implementation=ATTENTION, dtype=torch.float32
        )
        unfuse(whole, shape.heads)
        self.config, self.prefix = shape, f"{whole.base_model_prefix}."
        self.body = whole.base_model
        head = whole.get_output_embeddings()
        self.tied = head.weight is whole.get_input_embeddings().weight
        self.out = None if self.tied else head
        self.lines = Lines()
        for module in self.body.modules():
            setattr(module, LINES, self.lines)  # our attention is handed its module, and nothing else of ours

    def outside(self, path: str) -> str:
        if ".".join(path.split(".")[-2:]) in SHARED:
            raise AtlasError(f"{path}: transformers has it in one matrix with others, so no adapter of PEFT fits it")
        return f"{self.prefix}{path.removeprefix(f'{BODY}.')}"

    def hidden(self, tokens: Tensor, positions: Tensor | None = None, mask: Mask = None) -> Tensor:
        if not isinstance(mask, Packed):
            assert mask is None, "padded rows are causal here"
            return self._states(tokens, positions, None)
        assert positions is not None
        states = self._states(tokens[None], positions[None], mask)[0]
        rows = mask.asked.rows
        return states if rows is None else states.index_select(0, rows)

    def _states(self, tokens: Tensor, positions: Tensor | None, packed: Packed | None) -> Tensor:
        self.lines.packed = packed
        states: Tensor = self.body(input_ids=tokens, position_ids=positions, use_cache=False).last_hidden_state
        return states

    @property
    def embedding(self) -> nn.Embedding:
        return cast("nn.Embedding", self.body.get_input_embeddings())

    @property
    def head(self) -> Tensor:
        weight: Tensor = (self.out or self.embedding).weight
        return weight


def hosted(config: Mapping[str, Any], text: Text) -> Hosted:
    """A model from outside, all its numbers not a number; what it computes, such as rotary frequencies, is there."""
    model = Hosted(config, shape_from(config, CONFIG), text)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    return model


def hosted_name(part: WeightPart, prefix: str) -> str:
    """The name in a hosted model of a part of a foreign checkpoint, whose names have a prefix."""
    if part.role == "head":
        return f"{OUT}.weight"
    name = part.name.removeprefix(prefix)
    if fused := FUSED_PART.fullmatch(name):
        name = "{0}.{2}.{1}".format(*fused.groups())
    return f"{BODY}.{name}"


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as the library calls it: q (batch, heads, time, size); k and v may have fewer heads.

    Returns:
        (batch, time, heads, size), and no weights.
    """
    heads, size = query.shape[1], query.shape[3]
    key, value = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (key, value))
    packed = cast("Lines", getattr(module, LINES)).packed
    if packed is None:
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
        return mixed.transpose(1, 2).contiguous(), None
    if scaling is not None:
        query = query * (scaling * size**0.5)  # ours divides by the root of the size
    q, k, v = (x[0].transpose(0, 1).reshape(x.shape[2], heads * size) for x in (query, key, value))  # (tokens, width)
    return packed.mix(q, k, v, heads, packed.all).view(1, -1, heads, size), None
