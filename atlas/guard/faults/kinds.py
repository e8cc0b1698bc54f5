"""What a kind of damage is, what it is done to, and where. The kinds themselves are in the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from atlas.guard.blueprints import OPT_LAYERS, OPT_MODULES

EMBEDDING, POSITIONS = "model.decoder.embed_tokens.weight", "model.decoder.embed_positions.weight"
NORMS = ("self_attn_layer_norm", "final_layer_norm")
ATTENTION = ("q", "k", "v", "o")
ROLES = (*ATTENTION, "up", "down")

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Subject:
    """An honest checkpoint of an OPT, and other weights of its shape; ``earlier`` and ``other`` may be missing."""

    config: Mapping[str, Any]  # as `transformers` writes it
    tensors: Tensors
    drawn: Tensors  # fresh weights, of a seed that trained none of the others
    earlier: Tensors | None = None  # of the same training
    other: Tensors | None = None  # of another seed

    @property
    def layers(self) -> int:
        return int(self.config["num_hidden_layers"])

    @property
    def heads(self) -> int:
        return int(self.config["num_attention_heads"])


Places = Callable[[Subject], list[str]]


@dataclass
class Patient:
    """A copy of a subject's files that damage may change in place."""

    subject: Subject
    tensors: Tensors
    config: dict[str, Any]
    draw: np.random.Generator
    broken: list[Callable[[bytes], bytes]] = field(default_factory=list)  # done to the file once it is written
    in_memory: list[Callable[[nn.Module], None]] = field(default_factory=list)  # done to the model once it is loaded

    @classmethod
    def of(cls, subject: Subject, draw: np.random.Generator) -> Patient:
        """A fresh copy of a subject."""
        tensors = {name: values.clone() for name, values in subject.tensors.items()}
        return cls(subject, tensors, dict(subject.config), draw)

    def written(self) -> bytes:
        """The checkpoint as a file, with what was done to the file itself."""
        contiguous = {name: values.contiguous() for name, values in self.tensors.items()}
        raw: bytes = to_safetensors(contiguous, metadata={"format": "pt"})
        for change in self.broken:
            raw = change(raw)
        return raw


Damage = Callable[[Patient, str], object]


@dataclass(frozen=True)
class Kind:
    """A kind of damage. ``places`` lists what it can be done to in a subject; an empty list means not to this one."""

    family: str
    name: str
    places: Places
    damage: Damage
    harmless: bool = False  # by mathematics: the function stays what it was
    unknowable: bool = False  # honest weights, or a change within rounding: only a manifest can tell


def wrong_names(roles: Sequence[str]) -> Callable[[str], str]:
    """A map of names that is right but for some roles: as if their modules were in a block called `mlp`."""
    wrong = {f".{OPT_MODULES[role]}.": f".mlp.{OPT_MODULES[role]}." for role in roles}

    def rename(name: str) -> str:
        for right, mistaken in wrong.items():
            name = name.replace(right, mistaken)
        return name

    return rename


def of(layer: int | str, role: str, which: str = "weight") -> str:
    """Name of a tensor of a layer."""
    return f"{OPT_LAYERS}.{layer}.{OPT_MODULES.get(role, role)}.{which}"


def whole(_subject: Subject) -> list[str]:
    """The checkpoint as a whole."""
    return ["all"]


def embeddings(_subject: Subject) -> list[str]:
    """The two tables in front of the layers."""
    return [EMBEDDING, POSITIONS]


def layers(subject: Subject) -> list[str]:
    """Layers, by number."""
    return [str(layer) for layer in range(subject.layers)]


def pairs(subject: Subject) -> list[str]:
    """Two layers each, such as ``0 2``."""
    return [f"{a} {b}" for a, b in combinations(range(subject.layers), 2)]


def weights_of(*roles: str, which: str = "weight") -> Places:
    """Tensors of some roles in every layer."""
    return lambda subject: [of(layer, role, which) for layer in range(subject.layers) for role in roles]


matrices = weights_of(*ROLES)
square = weights_of(*ATTENTION)
biases = weights_of("q", "v", "o", "up", "down", which="bias")
norms = weights_of(*NORMS)


def with_earlier(subject: Subject) -> list[str]:
    """The whole, where an earlier step of the training is at hand."""
    return ["all"] if subject.earlier else []


def with_other(places: Places) -> Places:
    """The same places, where weights of another seed are at hand."""
    return lambda subject: places(subject) if subject.other else []
