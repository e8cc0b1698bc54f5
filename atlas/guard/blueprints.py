"""Which tensors a language model has, by architecture: name, shape, kind and role of each, from its config alone.

A blueprint is written down a second time here, on purpose: taken from the model's own class, it could only agree with
that class's mistakes. Names and shapes are those of `transformers` (OPT, GPT-2, GPT-NeoX, Llama, Mistral, Qwen2,
Qwen3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor

from atlas.errors import AtlasError
from atlas.guard.tensors import Kind, WeightPart

LAYERS_AT_MOST = 4096  # the deepest that were ever trained have about 1000
SIZE_AT_MOST = 2**31 - 1  # of anything else that a config counts
NUMBERS_AT_MOST = 2**48  # of one tensor
OPT_LAYERS = "model.decoder.layers"
OPT_MODULES: Mapping[str, str] = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.out_proj",
    "up": "fc1",
    "down": "fc2",
}
"""Where the matrices of an OPT's layer are, by role."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor that a checkpoint must have."""

    name: str
    shape: tuple[int, ...]
    kind: Kind
    role: str = ""
    layer: int | None = None
    transposed: bool = False  # stored as (in, out)
    fused: tuple[str, ...] = ()  # roles that share it, one after the other along its outputs
    heads: int = 1  # how often the fused roles alternate: once, or head by head
    unused: int = 0  # rows in front that no token ever takes, so that they keep their first values

    def parts(self, tensor: Tensor) -> Iterator[WeightPart]:
        """The parts of the tensor that this describes: itself, or each role's share."""
        values = (tensor.T if self.transposed and tensor.ndim == 2 else tensor)[self.unused :]
        if not self.fused:
            yield WeightPart(self.name, self.name, values, self.kind, self.role, self.layer)
            return
        shared = values.reshape(self.heads, len(self.fused), -1, *values.shape[1:])  # (heads, roles, head, ...)
        for role, share in zip(self.fused, shared.unbind(1), strict=True):
            yield WeightPart(f"{self.name}[{role}]", self.name, share.flatten(0, 1), self.kind, role, self.layer)


@dataclass(frozen=True)
class Blueprint:
    """All tensors of one model."""

    prefix: str  # in front of all names but the head's; a bare model, saved without its head, has none
    specs: tuple[TensorSpec, ...]
    head: TensorSpec  # the output matrix
    tied: bool  # the head is the embedding: a file may leave it out or repeat it
    buffers: str  # regular expression of tensors that are computed, not trained, and may be there


class ConfigReader:
    """A model's config.json, read key by key. AtlasError names the file and the key."""

    def __init__(self, values: Mapping[str, Any], origin: str) -> None:
        self.values, self.origin = values, origin

    def size(self, key: str, default: int | None = None) -> int:
        """A number above 0; ``default`` where the key is missing or null."""
        found = self.values.get(key)
        found = default if found is None else found
        most = LAYERS_AT_MOST if "layer" in key else SIZE_AT_MOST
        if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= most:
            raise AtlasError(
                f"{self.origin}: {key} is {found!r:.100}, expected a number above 0 and at most {most}; use the "
                "model's own config"
            )
        return found

    def on(self, key: str, default: bool) -> bool:
        """A switch; ``default`` where the key is missing or null."""
        found = self.values.get(key)
        if found is not None and not isinstance(found, bool):
            raise AtlasError(
                f"{self.origin}: {key} is {found!r:.100}, expected true or false; use the model's own config"
            )
        return default if found is None else found

    def check_heads(self, width: int, heads: int) -> None:
        """AtlasError where the heads do not share the width evenly."""
        if width % heads:
            raise AtlasError(f"{self.origin}: width {width} is not a multiple of {heads} heads; use the model's config")


def heads_of(config: Mapping[str, Any]) -> dict[str, int]:
    """How many heads share each of a layer's attention matrices, by role, as far as a config says."""
    full = config.get("num_attention_heads") or config.get("n_head")
    fewer = config.get("num_key_value_heads") or full
    return {"q": full, "k": fewer, "v": fewer, "o": full} if isinstance(full, int) and isinstance(fewer, int) else {}


def blueprint(config: Mapping[str, Any], origin: str) -> Blueprint:
    """The blueprint of the model that a `transformers` config describes. AtlasError where it is of no known kind."""
    kind = str(config.get("model_type"))
    if kind not in ARCHITECTURES:
        raise AtlasError(
            f"{origin}: model_type {kind!r:.100} has no map of names; there are maps for {', '.join(ARCHITECTURES)}; "
            "load the model and use atlas.verify(model, checkpoint), or add a map in atlas/guard/blueprints.py"
        )
    made = ARCHITECTURES[kind](ConfigReader(config, origin))
    for spec in (*made.specs, made.head):
        if math.prod(spec.shape) > NUMBERS_AT_MOST:
            raise AtlasError(f"{origin}: {spec.name} would have shape {list(spec.shape)}; use the model's own config")
    return made


def _linear(path: str, role: str, out: int, into: int, bias: bool = True, **how: Any) -> list[TensorSpec]:
    """A linear layer, held as (out, in) unless ``transposed``."""
    shape = (into, out) if how.get("transposed") else (out, into)
    specs = [TensorSpec(f"{path}.weight", shape, "matrix", role, **how)]
    return [*specs, TensorSpec(f"{path}.bias", (out,), "bias", role, **how)] if bias else specs


def _norm(path: str, width: int, weight: bool = True, bias: bool = True) -> list[TensorSpec]:
    specs = [TensorSpec(f"{path}.weight", (width,), "norm weight")] if weight else []
    return [*specs, TensorSpec(f"{path}.bias", (width,), "norm bias")] if weight and bias else specs


def _embedding(path: str, rows: int, width: int) -> TensorSpec:
    return TensorSpec(f"{path}.weight", (rows, width), "embedding")


def _head(path: str, vocab: int, width: int) -> TensorSpec:
    return TensorSpec(f"{path}.weight", (vocab, width), "matrix", "head")


def _layers(path: str, count: int, specs: list[TensorSpec]) -> list[TensorSpec]:
    """The specs of one layer, for every layer."""
    return [replace(spec, name=f"{path}.{at}.{spec.name}", layer=at) for at in range(count) for spec in specs]


def _opt(given: ConfigReader) -> Blueprint:
    width, ffn, vocab = given.size("hidden_size"), given.size("ffn_dim"), given.size("vocab_size")
    narrow = given.size("word_embed_proj_dim", width)
    bias, affine = given.on("enable_bias", True), given.on("layer_norm_elementwise_affine", True)
    last_norm = given.on("do_layer_norm_before", True) and not given.on("_remove_final_layer_norm", False)
    layer = [spec for role in "qkvo" for spec in _linear(OPT_MODULES[role], role, width, width, bias)]
    layer += _norm("self_attn_layer_norm", width, affine)
    layer += _linear(OPT_MODULES["up"], "up", ffn, width, bias) + _linear(OPT_MODULES["down"], "down", width, ffn, bias)
    layer += _norm("final_layer_norm", width, affine)
    specs = [_embedding("model.decoder.embed_tokens", vocab, narrow)]
    positions = given.size("max_position_embeddings") + 2
    specs.append(replace(_embedding("model.decoder.embed_positions", positions, width), unused=2))
    if narrow != width:
        specs += _linear("model.decoder.project_in", "", width, narrow, bias=False)
        specs += _linear("model.decoder.project_out", "", narrow, width, bias=False)
    specs += _layers(OPT_LAYERS, given.size("num_hidden_layers"), layer)
    specs += _norm("model.decoder.final_layer_norm", width, affine) if last_norm else []
    tied = given.on("tie_word_embeddings", True)
    return Blueprint("model.", tuple(specs), _head("lm_head", vocab, narrow), tied, buffers=r"(?!)")


def _gpt2(given: ConfigReader) -> Blueprint:
    width, vocab = given.size("n_embd"), given.size("vocab_size")
    inner = given.size("n_inner", 4 * width)
    given.check_heads(width, given.size("n_head"))
    layer = _norm("ln_1", width)
    layer += _linear("attn.c_attn", "", 3 * width, width, transposed=True, fused=("q", "k", "v"))
    layer += _linear("attn.c_proj", "o", width, width, transposed=True)
    layer += _norm("ln_2", width)
    layer += _linear("mlp.c_fc", "up", inner, width, transposed=True)
    layer += _linear("mlp.c_proj", "down", width, inner, transposed=True)
    specs = [_embedding("transformer.wte", vocab, width)]
    specs += [_embedding("transformer.wpe", given.size("n_positions"), width)]
    specs += _layers("transformer.h", given.size("n_layer"), layer) + _norm("transformer.ln_f", width)
    masks = r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)"
    tied = given.on("tie_word_embeddings", True)
    return Blueprint("transformer.", tuple(specs), _head("lm_head", vocab, width), tied, masks)


def _gpt_neox(given: ConfigReader) -> Blueprint:
    width, ffn, vocab = given.size("hidden_size"), given.size("intermediate_size"), given.size("vocab_size")
    heads, bias = given.size("num_attention_heads"), given.on("attention_bias", True)
    given.check_heads(width, heads)
    layer = _norm("input_layernorm", width) + _norm("post_attention_layernorm", width)
    shared: dict[str, Any] = {"fused": ("q", "k", "v"), "heads": heads}
    layer += _linear("attention.query_key_value", "", 3 * width, width, bias, **shared)
    layer += _linear("attention.dense", "o", width, width, bias)
    layer += _linear("mlp.dense_h_to_4h", "up", ffn, width) + _linear("mlp.dense_4h_to_h", "down", width, ffn)
    specs = [_embedding("gpt_neox.embed_in", vocab, width)]
    specs += _layers("gpt_neox.layers", given.size("num_hidden_layers"), layer)
    specs += _norm("gpt_neox.final_layer_norm", width)
    computed = r"(gpt_neox\.)?layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)"
    tied = given.on("tie_word_embeddings", False)
    return Blueprint("gpt_neox.", tuple(specs), _head("embed_out", vocab, width), tied, computed)


def _llama(given: ConfigReader) -> Blueprint:
    bias = given.on("attention_bias", False)
    return _gated(given, bias, bias, given.on("mlp_bias", False))


def _qwen3(given: ConfigReader) -> Blueprint:
    bias = given.on("attention_bias", False)
    inside = given.size("head_dim", 128)
    norms = _norm("self_attn.q_norm", inside, bias=False) + _norm("self_attn.k_norm", inside, bias=False)
    return _gated(given, bias, bias, inside=inside, more=norms)


def _gated(
    given: ConfigReader,
    qkv_bias: bool,
    o_bias: bool = False,
    bias: bool = False,
    inside: int | None = None,
    more: Sequence[TensorSpec] = (),
) -> Blueprint:
    """A Llama or one of its kin. ``inside``: width of a head, if not the config's; ``more``: specs of a layer."""
    width, ffn, vocab = given.size("hidden_size"), given.size("intermediate_size"), given.size("vocab_size")
    heads = given.size("num_attention_heads")
    inside = inside or given.size("head_dim", width // heads)
    full, fewer = heads * inside, given.size("num_key_value_heads", heads) * inside
    layer = _linear("self_attn.q_proj", "q", full, width, qkv_bias)
    layer += _linear("self_attn.k_proj", "k", fewer, width, qkv_bias)
    layer += _linear("self_attn.v_proj", "v", fewer, width, qkv_bias)
    layer += _linear("self_attn.o_proj", "o", width, full, o_bias) + list(more)
    layer += _linear("mlp.gate_proj", "gate", ffn, width, bias) + _linear("mlp.up_proj", "up", ffn, width, bias)
    layer += _linear("mlp.down_proj", "down", width, ffn, bias)
    layer += _norm("input_layernorm", width, bias=False) + _norm("post_attention_layernorm", width, bias=False)
    specs = [_embedding("model.embed_tokens", vocab, width)]
    specs += _layers("model.layers", given.size("num_hidden_layers"), layer) + _norm("model.norm", width, bias=False)
    rotary = r"(model\.)?(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"
    return Blueprint(
        "model.", tuple(specs), _head("lm_head", vocab, width), given.on("tie_word_embeddings", False), rotary
    )


ARCHITECTURES: Mapping[str, Callable[[ConfigReader], Blueprint]] = {
    "opt": _opt,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
    "llama": _llama,
    "mistral": _llama,
    "qwen2": partial(_gated, qkv_bias=True),
    "qwen3": _qwen3,
}
