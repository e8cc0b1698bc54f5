"""A config against its file alone: what the shapes of the tensors confirm, and what nothing there can."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.guard.blueprints import blueprint
from atlas.guard.configured import IDLE, ROUNDING, flat
from atlas.guard.report import UNDECIDED, Check
from atlas.guard.weight_checks import counted

HEADS = ("num_attention_heads", "n_head", "num_key_value_heads")
SEEN = {"model_type", "tie_word_embeddings", "add_cross_attention", "is_encoder_decoder"}  # by which tensors there are
TABLE = re.compile(r"(^|\.)rotary_emb\.inv_freq$")  # of rotary positions, which older files hold


def unconfirmed(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[str]:
    """Keys of a config, those inside others as PATH.KEY, that could be anything, as far as the file shows.

    A key is confirmed where another value would ask for other tensors, or for other shapes.

    Args:
        config: of an architecture that has a blueprint.
        tensors: of its file.
    """
    stated = [key for key, value in flat(config).items() if value is not None and key not in SEEN]
    stated = [key for key in stated if not any(IDLE.fullmatch(step) for step in key.split("."))]
    table = any(TABLE.search(name) for name in tensors)
    fixed = _shapes(config)
    heads = [key for key in (*HEADS, "head_dim") if isinstance(config.get(key), int)]
    wider = [_shapes({**config, **_scaled(config, by)}) for by in (2, 0.5)]
    free = {*heads} if fixed in wider else set()
    for key in stated:
        if key in heads or (table and "theta" in key):
            continue
        if "." in key or fixed == _shapes({**config, key: _other(config[key])}):
            free.add(key)
    return sorted(free)


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """Names and shapes that a config asks for; None where it cannot be."""
    try:
        made = blueprint(config, "")
    except AtlasError:
        return None
    return {spec.name: spec.shape for spec in (*made.specs, made.head)}


def _scaled(config: Mapping[str, Any], by: float) -> dict[str, Any]:
    """All counts of heads times a number, with heads as much narrower."""
    found = {key: int(config[key] * by) for key in HEADS if isinstance(config.get(key), int)}
    return found | ({"head_dim": int(config["head_dim"] / by)} if isinstance(config.get("head_dim"), int) else {})


def _other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    return value * 2 if isinstance(value, int | float) else f"not {value}"


def consistent(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Check:
    """The config agrees with itself and with the tables of rotary positions in the file, where there are any.

    Shapes are no part of this: names and shapes are checks of their own.
    """
    wrong = dict(_contradictions(config, tensors))
    sentence = "the config agrees with itself and with what else the file holds"
    tables = any(TABLE.search(name) for name in tensors)
    if tables and _rope(config) is None:
        sentence = f"{UNDECIDED}: the file's tables of rotary positions, which the config scales"
    return counted("config", sentence, (f"{key}: {problem}" for key, problem in sorted(wrong.items())), wrong)


def _contradictions(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    heads, groups = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if isinstance(heads, int) and isinstance(groups, int) and groups > 0 and heads % groups:
        yield "num_key_value_heads", f"{groups}, expected a divisor of num_attention_heads, {heads}"
    rope = _rope(config)
    for name, tensor in tensors.items():
        if rope is None or not TABLE.search(name):
            continue
        theta, width = rope
        dim = width or 2 * len(tensor)
        wanted = theta ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        if wanted.shape != tensor.shape:
            yield name, f"{len(tensor)} frequencies, the config's heads take {len(wanted)}"
        elif not torch.allclose(tensor.double(), wanted, rtol=ROUNDING.get(tensor.dtype, 0.1), atol=1e-7):
            found = float(tensor.double()[1] ** -(dim / 2)) if len(tensor) > 1 else float("nan")
            yield name, f"made with rope_theta {found:.6g}, the config says {theta:.6g}"


def _rope(config: Mapping[str, Any]) -> tuple[float, int | None] | None:
    """Base of plain rotary positions and how many numbers of a head turn; None where positions are scaled."""
    inside = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(inside, Mapping) or inside.get("rope_type", inside.get("type", "default")) != "default":
        return None
    theta = inside.get("rope_theta", config.get("rope_theta", config.get("rotary_emb_base", 10000.0)))
    part = inside.get("partial_rotary_factor", config.get("partial_rotary_factor", config.get("rotary_pct")))
    if part is None:
        part = 0.25 if config.get("model_type") == "gpt_neox" else 1.0
    if not isinstance(theta, int | float) or not isinstance(part, int | float) or theta <= 0:
        return None
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    inner = config.get("head_dim") or (width // heads if isinstance(width, int) and isinstance(heads, int) else None)
    return float(theta), int(inner * part) if inner else None
