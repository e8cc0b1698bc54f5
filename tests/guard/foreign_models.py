"""Tiny models of other projects' architectures, made by `transformers`, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Qwen2Config,
    Qwen3Config,
)

from atlas.base.inspection import inspect

SIZES = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}


def _opt(**more):
    return OPTConfig(
        **{**SIZES, **TEXT, "ffn_dim": 48, "max_position_embeddings": 24, "word_embed_proj_dim": 32, **more}
    )


def _gpt2(**more):
    return GPT2Config(**{"vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 24, **TEXT, **more})


def _other(kind, **more):
    return kind(**{**SIZES, **TEXT, "intermediate_size": 48, "max_position_embeddings": 24, **more})


CONFIGS = {
    "opt": _opt(),
    "opt, untied": _opt(tie_word_embeddings=False),
    "opt, norms behind": _opt(do_layer_norm_before=False, word_embed_proj_dim=16),
    "opt, bare": _opt(enable_bias=False, layer_norm_elementwise_affine=False),
    "gpt2": _gpt2(),
    "gpt2, narrow": _gpt2(n_inner=48, tie_word_embeddings=False),
    "gpt_neox": _other(GPTNeoXConfig),
    "gpt_neox, no bias, tied": _other(GPTNeoXConfig, attention_bias=False, tie_word_embeddings=True),
    "llama": _other(LlamaConfig),
    "llama, grouped, tied": _other(
        LlamaConfig, num_key_value_heads=1, tie_word_embeddings=True, attention_bias=True, mlp_bias=True
    ),
    "llama, wide heads": _other(LlamaConfig, head_dim=24, num_key_value_heads=1),
    "mistral": _other(MistralConfig, num_key_value_heads=1),
    "qwen2": _other(Qwen2Config, num_key_value_heads=1),
    "qwen2, tied": _other(Qwen2Config, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen3": _other(Qwen3Config, num_key_value_heads=1, head_dim=24),
    "qwen3, biased": _other(Qwen3Config, head_dim=16, num_key_value_heads=2, attention_bias=True),
    "qwen3, tied": _other(Qwen3Config, head_dim=16, tie_word_embeddings=True, num_key_value_heads=2),
}
"""A config of every kind that changes names or shapes."""

FOUR = ("opt", "gpt2", "gpt_neox", "llama")


def model_of(name: str, trained: bool = False) -> Any:
    """A model with the weights of its own initialisation, or as training would leave them."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name])
    return as_if_trained(model) if trained else model


def as_if_trained(model: torch.nn.Module) -> torch.nn.Module:
    """Give all matrices directions in common and spectra that fall off, and move all vectors."""
    common = torch.tensor([0.4, 1.6]).repeat(256)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                u, s, v = torch.linalg.svd(parameter, full_matrices=False)
                rows, columns = parameter.shape
                parameter.copy_(u * 0.8 ** torch.arange(len(s)) @ v * common[:columns] * common[:rows, None])
            else:
                parameter.add_(torch.linspace(-0.1, 0.1, len(parameter)))
    return model.eval()


def saved(folder: Path, name: str, trained: bool = False, **options) -> Path:
    """The folder of a model, as ``save_pretrained`` leaves it."""
    model_of(name, trained).save_pretrained(folder, **options)
    return folder


def failures(path: Path) -> dict[str, set[str]]:
    """Checks that fail, each with the tensors that it names."""
    report = inspect(path)
    found = {check.name: set(check.tensors) for check in report.checks if not check.passed}
    assert report.passed == (not found)
    return found
