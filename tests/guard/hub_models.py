"""Tiny models of many architectures of `transformers`, as `save_pretrained` writes them and as older files are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from atlas.guard.formats import WHOLE

SIZES = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
GROUPED = {**SIZES, "num_key_value_heads": 1}
BLOOM = {"vocab_size": 40, "hidden_size": 32, "n_layer": 2, "n_head": 2}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 5000.0}
MAMBA = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", {"vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 24}),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            "vocab_size": 40,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 2,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 24,
        },
    ),
    "gptj": (
        "GPTJConfig",
        {"vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 24, "rotary_dim": 8},
    ),
    "gpt_neox": ("GPTNeoXConfig", SIZES),
    "opt": (
        "OPTConfig",
        {
            "vocab_size": 40,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_dim": 48,
            "word_embed_proj_dim": 32,
            "max_position_embeddings": 24,
        },
    ),
    "llama": ("LlamaConfig", GROUPED),
    "llama, yarn": ("LlamaConfig", {**GROUPED, "rope_parameters": YARN}),
    "mistral": ("MistralConfig", GROUPED),
    "qwen2": ("Qwen2Config", {**GROUPED, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {**GROUPED, "head_dim": 16}),
    "gemma": ("GemmaConfig", {**GROUPED, "head_dim": 16}),
    "gemma2": ("Gemma2Config", {**GROUPED, "head_dim": 16}),
    "gemma3": ("Gemma3TextConfig", {**GROUPED, "head_dim": 16, "layer_types": ["sliding_attention", "full_attention"]}),
    "phi": ("PhiConfig", SIZES),
    "phi3": ("Phi3Config", {**GROUPED, "pad_token_id": 0}),
    "stablelm": ("StableLmConfig", SIZES),
    "falcon": ("FalconConfig", {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}),
    "bloom": ("BloomConfig", BLOOM),
    "mpt": ("MptConfig", {"vocab_size": 40, "d_model": 32, "n_layers": 2, "n_heads": 2}),
    "mixtral": ("MixtralConfig", {**GROUPED, "num_local_experts": 3}),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        {
            **GROUPED,
            "num_experts": 3,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
        },
    ),
    "olmoe": ("OlmoeConfig", {**GROUPED, "num_experts": 3, "num_experts_per_tok": 2}),
    "mamba": ("MambaConfig", {**MAMBA, "state_size": 4}),
    "mamba2": (
        "Mamba2Config",
        {**MAMBA, "num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1},
    ),
    "bert": ("BertConfig", {**SIZES, "max_position_embeddings": 24}),
    "roberta": ("RobertaConfig", {**SIZES, "max_position_embeddings": 24}),
    "distilbert": (
        "DistilBertConfig",
        {"vocab_size": 40, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 24},
    ),
    "t5": ("T5Config", {"vocab_size": 40, "d_model": 32, "num_layers": 2, "num_heads": 2, "d_ff": 48, "d_kv": 16}),
    "bart": (
        "BartConfig",
        {
            "vocab_size": 40,
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_position_embeddings": 24,
        },
    ),
}
TEXT = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "decoder_start_token_id": 0}
MASKED, BOTH = {"bert", "roberta", "distilbert"}, {"t5", "bart"}


def auto(name: str) -> Any:
    """The class that loads a model with its head."""
    return AutoModelForMaskedLM if name in MASKED else AutoModelForSeq2SeqLM if name in BOTH else AutoModelForCausalLM


def model_of(name: str) -> Any:
    kind, keys = CONFIGS[name]
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**(TEXT | keys))
    return auto(name).from_config(config).eval()


def older(name: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A file's tensors under the names that older files have for them, with the buffers that these hold."""
    mask = torch.ones(1, 1, 24, 24).tril()
    layers = range(2)
    if name == "gpt2":
        bare = {each.removeprefix("transformer."): tensor for each, tensor in tensors.items()}
        masks = {f"h.{at}.attn.bias": mask for at in layers}
        return bare | masks | {f"h.{at}.attn.masked_bias": torch.tensor(-1e4) for at in layers}
    if name == "gpt_neox":
        found = {each.replace("lm_head.", "embed_out."): tensor for each, tensor in tensors.items()}
        for at in layers:
            path = f"gpt_neox.layers.{at}.attention"
            found |= {f"{path}.bias": mask.bool(), f"{path}.masked_bias": torch.tensor(-1e9)}
            found[f"{path}.rotary_emb.inv_freq"] = 10000.0 ** -(torch.arange(0, 4, 2) / 4)
        return found
    if name in ("llama", "mistral"):
        table = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
        return tensors | {f"model.layers.{at}.self_attn.rotary_emb.inv_freq": table.clone() for at in layers}
    if name == "bert":
        norms = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        found = {re.sub("LayerNorm.(weight|bias)", lambda at: norms[at[0]], each): t for each, t in tensors.items()}
        return found | {"bert.embeddings.position_ids": torch.arange(24)[None]}
    if name in ("bloom", "opt"):
        prefix = {"bloom": "transformer.", "opt": "model."}[name]
        return {each.removeprefix(prefix): tensor for each, tensor in tensors.items()}
    if name == "t5":
        shared = tensors["shared.weight"]
        twice = {f"{side}.embed_tokens.weight": shared.clone() for side in ("encoder", "decoder")}
        return tensors | twice
    return tensors


OLDER = ("gpt2", "gpt_neox", "llama", "mistral", "bert", "bloom", "opt", "t5")


def edit(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Change tensors of a folder's file; None drops one."""
    found = load_file(folder / WHOLE) | tensors
    put(folder, {name: tensor for name, tensor in found.items() if tensor is not None})


def put(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, folder / WHOLE, {"format": "pt"})
