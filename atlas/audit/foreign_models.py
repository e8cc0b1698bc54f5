"""Small honest models of other projects' architectures, trained for half a minute each on the corpus.

`transformers` makes and runs them; a token is a character, so that they learn something in so short a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from atlas.base.text import SYMBOLS
from atlas.draws import rng
from atlas.errors import INSTALL_LM, AtlasError
from atlas.workflow import files

CONTEXT, BATCH, RATE = 64, 16, 4e-3
WARM_UP, DECAY = 30, 0.7  # steps; the power of what is left that the rate falls with
TEXT = {"vocab_size": len(SYMBOLS), "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    **TEXT,
}
GROUPED = {**SIZES, "num_key_value_heads": 2, "intermediate_size": 128}
GPT2 = {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": CONTEXT, "n_inner": 128, **TEXT}
NO_DROPOUT = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "opt": {**SIZES, "ffn_dim": 128, "word_embed_proj_dim": 64, "dropout": 0.0},
    "gpt2": {**GPT2, **NO_DROPOUT},
    "gpt_neox": {**SIZES, "intermediate_size": 128},
    "llama": GROUPED,
    "mistral": GROUPED,
    "qwen2": {**GROUPED, "tie_word_embeddings": True},
    "qwen3": {**GROUPED, "head_dim": 16},
}
"""One shape of each architecture: with fused attention, grouped keys and values, tied heads and heads of their own."""


def fresh(architecture: str, seed: int, config: Mapping[str, Any] | None = None) -> nn.Module:
    """A model of a config (by default that of ``CONFIGS``) at its own initialisation.

    Raises AtlasError where `transformers` is not installed.
    """
    try:
        from transformers import AutoConfig, AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError as error:
        raise AtlasError(f"guard.architectures: {architecture} takes {error.name}; {INSTALL_LM}") from None
    logging.disable_progress_bar()  # of files of half a megabyte, hundreds of which a step's log would hold
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made: nn.Module = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(architecture, **(config or CONFIGS[architecture]))
        )
    return made


def trained(
    architecture: str, tokens: np.ndarray, steps: int, seed: int = 0, config: Mapping[str, Any] | None = None
) -> nn.Module:
    """A model after so many steps on tokens, uint8, (characters,); AdamW, on windows drawn from all of the text."""
    model, draw = fresh(architecture, seed, config), rng(seed, "guard", "foreign", architecture)
    optimiser = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARM_UP) * (1 - step / steps) ** DECAY
        starts = draw.integers(0, len(tokens) - CONTEXT, BATCH)
        rows = torch.from_numpy(np.stack([tokens[at : at + CONTEXT + 1] for at in starts]).astype(np.int64))
        logits = model(rows[:, :-1], use_cache=False).logits
        optimiser.zero_grad()
        torch.autograd.backward(F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()))
        optimiser.step()
    return model.requires_grad_(False).eval()


def put_down(folder: Path, model: Any) -> Path:
    """Write a model's folder: config.json, model.safetensors, tokenizer.json."""
    model.save_pretrained(folder)
    files.write_text(folder / "tokenizer.json", json.dumps(TOKENIZER))
    return folder


TOKENIZER: Mapping[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": {"type": "Fuse"},
    "model": {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {symbol: at for at, symbol in enumerate(SYMBOLS)},
        "merges": [],
    },
}
"""A tokenizer, as `tokenizers` reads it, whose tokens are those of ``atlas.base.text.encode``."""
