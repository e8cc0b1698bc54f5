"""The base model: a small OPT-shaped decoder.

Pre-layer-norm, separate q/k/v/out and fc1/fc2 matrices with biases, learned positions, ReLU, tied embeddings.
Parameter names are OPT's, so ``transformers.OPTForCausalLM`` loads the checkpoint as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.base.architectures import OPT
from atlas.base.attention import Packed, View
from atlas.base.language import LanguageModel, Mask
from atlas.base.text import CHARACTERS, SYMBOLS
from atlas.draws import rng
from atlas.study.base_settings import Model

POSITION_OFFSET = 2  # OPT keeps two unused rows in front of its positions
INIT_STD = 0.02


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Mask, view: View | None = None) -> Tensor:
        """Of packed rows the tokens of ``view``, else all."""
        q, k, v = self.q_proj(_asked(x, view)), self.k_proj(x), self.v_proj(x)
        if isinstance(mask, Packed):
            mixed = mask.mix(q, k, v, self.heads, view or mask.all)
        else:
            heads = (self.heads, -1)
            q, k, v = (x.unflatten(2, heads).transpose(1, 2) for x in (q, k, v))  # (batch, heads, time, head)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
            mixed = mixed.transpose(1, 2).flatten(2)
        out: Tensor = self.out_proj(mixed)
        return out


def _asked(x: Tensor, view: View | None) -> Tensor:
    """The rows of a view, all without one."""
    return x if view is None or view.rows is None else x.index_select(0, view.rows)


class Layer(nn.Module):
    """One decoder layer: attention, then a feed-forward of two matrices."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.self_attn = Attention(config.width, config.heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.ffn)
        self.fc2 = nn.Linear(config.ffn, config.width)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, mask: Mask, view: View | None = None) -> Tensor:
        x = _asked(x, view) + self.self_attn(self.self_attn_layer_norm(x), mask, view)
        wide = self.fc1(self.final_layer_norm(x).flatten(0, -2))  # rows would be a view, which ReLU in place copies
        out: Tensor = x + self.fc2(F.relu(wide, inplace=True)).view(x.shape)
        return out


class Decoder(nn.Module):
    """Embeddings, layers, last norm; returns hidden states."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        # no draw of PyTorch's own, see ``initialise``: on the meta device it imports the compiler, a second of work
        self.embed_tokens, self.embed_positions = (
            nn.Embedding(rows, config.width, _weight=torch.zeros(rows, config.width))
            for rows in (len(SYMBOLS), config.context + POSITION_OFFSET)
        )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor, positions: Tensor | None, mask: Mask) -> Tensor:
        if positions is None:
            positions = torch.arange(tokens.shape[-1], device=tokens.device)
        x = self.embed_tokens(tokens) + self.embed_positions(positions + POSITION_OFFSET)  # (batch, time, width)
        last = mask.asked if isinstance(mask, Packed) else None
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, mask, last if number == len(self.layers) else None)
        out: Tensor = self.final_layer_norm(x)
        return out


class _Body(nn.Module):
    """Holds the decoder, so that parameter names begin with ``model.decoder`` as OPT's do."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.decoder = Decoder(config)


class Transformer(LanguageModel):
    """The causal language model. ``config`` gives its shape; the output head is the embedding (tied)."""

    text = CHARACTERS
    roles = OPT.inside("model")

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.config = config
        self.model = _Body(config)

    def hidden(self, tokens: Tensor, positions: Tensor | None = None, mask: Mask = None) -> Tensor:
        out: Tensor = self.model.decoder(tokens, positions, mask)
        return out

    @property
    def embedding(self) -> nn.Embedding:
        return self.model.decoder.embed_tokens

    @property
    def head(self) -> Tensor:
        return self.embedding.weight


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw a fresh initialisation in place: normal matrices (std 0.02), zero biases, unit norms, as OPT's own."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.normal_(0.0, INIT_STD, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()
            if isinstance(module, nn.LayerNorm):
                module.weight.fill_(1.0)
                module.bias.zero_()


def fresh(config: Model, seed: int, replica: int = 1) -> Transformer:
    """The model as it was before its first training step, for a seed of the study (``base.seed``)."""
    model = Transformer(config)
    initialise(model, torch.Generator().manual_seed(int(draws(seed, replica, "init").integers(2**62))))
    return model


def draws(seed: int, replica: int, purpose: str) -> np.random.Generator:
    """The random numbers of one of a study's bases. The first has the keys of a study that has no other."""
    return rng(seed, "base", *([replica] if replica > 1 else []), purpose)


def opt_config(config: Model) -> dict[str, Any]:
    """The same shape as a ``transformers`` config (content of config.json)."""
    return {
        "model_type": "opt",
        "architectures": ["OPTForCausalLM"],
        "vocab_size": len(SYMBOLS),
        "hidden_size": config.width,
        "word_embed_proj_dim": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "ffn_dim": config.ffn,
        "max_position_embeddings": config.context,
        "do_layer_norm_before": True,
        "activation_function": "relu",
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "layerdrop": 0.0,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
        "tie_word_embeddings": True,
        "pad_token_id": None,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
