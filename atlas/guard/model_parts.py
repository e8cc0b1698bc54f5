"""A model in memory as parts: by the blueprint of its config where that is known, else by its modules' classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from atlas.errors import AtlasError
from atlas.guard.blueprints import TensorSpec, blueprint, heads_of
from atlas.guard.tensors import WeightPart, parts_of

SIDE_BY_SIDE = {"c_attn", "qkv", "qkv_proj", "Wqkv", "in_proj"}  # last names of layers with q, k, v one after another
BY_HEAD = {"query_key_value": {"gpt_neox", "bloom"}}  # and head by head, in these architectures
SHARED = ("q", "k", "v")


def model_parts(model: nn.Module) -> Iterator[WeightPart]:
    """The parameters of any model, fused attention taken apart; a shared one comes once."""
    config = _config_of(model)
    specs, heads = _specs(config), heads_of(config)
    values = dict(model.named_parameters(remove_duplicate=False))
    for part in parts_of(model):
        tensor = values[part.tensor].detach().cpu()
        spec = specs.get(part.tensor)
        if spec is None or spec.shape != tuple(tensor.shape):
            spec = _fused(part, str(config.get("model_type")), heads.get("q", 0))
            tensor = part.values
        for share in spec.parts(tensor) if spec else [part]:
            yield replace(share, tensor=part.tensor, blocks=heads.get(share.role, share.blocks))


def _config_of(model: nn.Module) -> Mapping[str, Any]:
    """What `transformers` keeps beside a model; empty where there is nothing of the kind."""
    made = getattr(getattr(model, "config", None), "to_dict", None)
    found = made() if callable(made) else None
    return found if isinstance(found, dict) else {}


def _specs(config: Mapping[str, Any]) -> dict[str, TensorSpec]:
    """The tensors that a config's blueprint has, with and without the prefix of the whole model."""
    try:
        made = blueprint(config, "the model's config")
    except AtlasError:  # of no known kind
        return {}
    heads = {name: replace(made.head, name=name) for name in (made.head.name, "lm_head.weight")}
    whole = {spec.name: spec for spec in made.specs}
    bare = {name: replace(spec, name=name) for spec in made.specs if (name := spec.name.removeprefix(made.prefix))}
    return bare | whole | heads


def _fused(part: WeightPart, architecture: str, heads: int) -> TensorSpec | None:
    """How a part that holds q, k and v is taken apart, by its name and shape; None where it does not, or is unclear."""
    path, _, own = part.tensor.rpartition(".")
    last, shape = path.rpartition(".")[2], tuple(part.values.shape)
    attention = own in ("in_proj_weight", "in_proj_bias")  # of torch's own MultiheadAttention
    by_head = architecture in BY_HEAD.get(last, ()) and heads > 0
    if not (attention or by_head or last in SIDE_BY_SIDE) or part.kind not in ("matrix", "bias"):
        return None
    if shape[0] % (3 * (heads if by_head else 1)) or (part.kind == "matrix" and shape[0] != 3 * shape[1]):
        return None  # fewer heads of keys and values: only the architecture knows how many
    return TensorSpec(part.name, shape, part.kind, fused=SHARED, heads=heads if by_head else 1)
