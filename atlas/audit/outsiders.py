"""Honest models of other projects' architectures: tiny, made by `transformers`, trained on the corpus for a minute."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.base.optimisers import AdamW
from atlas.base.text import SYMBOLS
from atlas.draws import rng
from atlas.errors import INSTALL_LM, AtlasError

SIZES = {"vocab_size": len(SYMBOLS), "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
PLAIN = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
WIDE = {**SIZES, **PLAIN, "intermediate_size": 192, "max_position_embeddings": 64}
GPT2 = {"vocab_size": len(SYMBOLS), "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 64, **PLAIN}
OPT = {**SIZES, **PLAIN, "ffn_dim": 256, "max_position_embeddings": 64, "word_embed_proj_dim": 64}
OUTSIDERS: Mapping[str, Mapping[str, Any]] = {
    "opt": OPT,
    "opt, untied, 2 heads": OPT | {"num_attention_heads": 2, "tie_word_embeddings": False},
    "gpt2": GPT2,
    "gpt2, 4 layers of 48": GPT2 | {"n_embd": 48, "n_layer": 4, "n_inner": 128},
    "gpt_neox": WIDE,
    "gpt_neox, tied, no bias": WIDE | {"attention_bias": False, "tie_word_embeddings": True},
    "llama": WIDE,
    "llama, grouped, tied": WIDE | {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "mistral": WIDE | {"num_key_value_heads": 1, "num_hidden_layers": 2},
    "qwen2": WIDE | {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen3": WIDE | {"num_key_value_heads": 2, "head_dim": 24, "tie_word_embeddings": True},
}
"""Keys of a config by what is said of it; its first word is the ``model_type``."""
BATCH, WINDOW, WARM = 8, 64, 20
RATE = 3e-3
JUDGED = 64  # windows that the loss is measured on
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""How each of the models is stored."""


def model_type(kind: str) -> str:
    """The architecture of one of ``OUTSIDERS``."""
    return kind.partition(",")[0]


def trained(kind: str, seed: int, tokens: np.ndarray, steps: Collection[int]) -> Iterator[tuple[int, nn.Module]]:
    """Train one of ``OUTSIDERS`` with AdamW; after each of ``steps`` its number and the model, not to be changed.

    Args:
        tokens: uint8, (characters,).

    Raises AtlasError where `transformers` is not installed.
    """
    try:
        from transformers import AutoConfig, AutoModelForCausalLM  # the extra lm
        from transformers.utils import logging
    except ImportError as error:
        raise AtlasError(f"{kind}: an honest model of it takes {error.name}; {INSTALL_LM}") from None
    logging.disable_progress_bar()  # of files of a megabyte, which their steps save
    draw = rng(seed, "guard", "outsiders", kind)
    with torch.random.fork_rng(devices=[]):  # transformers draws a model's first weights from the global state
        torch.manual_seed(int(draw.integers(2**62)))
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type(kind), **OUTSIDERS[kind]))
    model.eval()  # without dropout
    decayed = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim != 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimiser, last = AdamW(groups, lr=RATE, betas=(0.9, 0.95), fused=True), max(steps)
    for step in range(1, last + 1):
        starts = draw.integers(0, len(tokens) - WINDOW, BATCH)
        rows = torch.from_numpy(np.stack([tokens[at : at + WINDOW] for at in starts]).astype(np.int64))
        loss = _loss(model, rows)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, step / WARM) * (0.55 + 0.45 * math.cos(math.pi * step / last))
        optimiser.step()
        optimiser.zero_grad()
        if step in steps:
            yield step, model


@torch.no_grad()
def loss_on(model: nn.Module, tokens: np.ndarray) -> float:
    """Mean loss in nats per character on evenly spread windows of a text, uint8, (characters,)."""
    starts = np.linspace(0, len(tokens) - WINDOW, JUDGED).astype(int)
    rows = torch.from_numpy(np.stack([tokens[at : at + WINDOW] for at in starts]).astype(np.int64))
    return float(_loss(model, rows))


def _loss(model: nn.Module, rows: Tensor) -> Tensor:
    """Cross-entropy of each token of rows, int64, (rows, tokens), but the first."""
    logits = model(input_ids=rows).logits[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
