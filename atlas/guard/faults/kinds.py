"""What a kind of damage is, where it is done, and how kinds are listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from atlas.audit.subject import Subject
from atlas.base.model import Transformer, opt_config

Tensors = dict[str, Tensor]
Places = Callable[[Subject], list[str]]

EMBEDDING, POSITIONS = "model.decoder.embed_tokens.weight", "model.decoder.embed_positions.weight"
NORMS = ("self_attn_layer_norm", "final_layer_norm")
ATTENTION = ("q", "k", "v", "o")


@dataclass
class Patient:
    """A copy of a subject's files that damage may change in place."""

    subject: Subject
    tensors: Tensors
    config: dict[str, Any]
    draw: np.random.Generator
    broken: list[Callable[[bytes], bytes]] = field(default_factory=list)  # done to the file once it is written


Harm = Callable[[Patient, str], None]


@dataclass(frozen=True)
class Kind:
    """A kind of damage. ``places`` lists what it can be done to in a subject; an empty list means not to this one."""

    family: str
    name: str
    places: Places
    harm: Harm
    harmless: bool = False  # by mathematics: the function stays what it was
    unknowable: bool = False  # honest weights, or a change within rounding: only a manifest can tell


KINDS: list[Kind] = []


def kind(
    family: str, name: str, places: Places, *, harmless: bool = False, unknowable: bool = False
) -> Callable[[Harm], Harm]:
    """Put a function into the list of kinds."""

    def listed(harm: Harm) -> Harm:
        KINDS.append(Kind(family, name, places, harm, harmless, unknowable))
        return harm

    return listed


def patient(subject: Subject, draw: np.random.Generator) -> Patient:
    """A fresh copy of a subject."""
    tensors = {name: values.clone() for name, values in subject.tensors.items()}
    return Patient(subject, tensors, opt_config(subject.shape), draw)


def of(layer: int | str, role: str, which: str = "weight") -> str:
    """Name of a tensor of a layer."""
    paths = {str(known): path for known, path in Transformer.roles.roles.items()}
    return f"{Transformer.roles.layers}.{layer}.{paths.get(role, role)}.{which}"


def whole(_subject: Subject) -> list[str]:
    """The checkpoint as a whole."""
    return ["all"]


def embeddings(_subject: Subject) -> list[str]:
    """The two tables in front of the layers."""
    return [EMBEDDING, POSITIONS]


def layers(subject: Subject) -> list[str]:
    """Layers, by number."""
    return [str(layer) for layer in range(subject.shape.layers)]


def pairs(subject: Subject) -> list[str]:
    """Two layers each, such as ``0 2``."""
    count = subject.shape.layers
    return [f"{a} {b}" for a in range(count) for b in range(a + 1, count)]


def weights_of(*roles: str, which: str = "weight") -> Places:
    """Tensors of some roles in every layer."""
    return lambda subject: [of(layer, role, which) for layer in range(subject.shape.layers) for role in roles]


matrices = weights_of(*ATTENTION, "up", "down")
square = weights_of(*ATTENTION)
biases = weights_of("q", "v", "o", "up", "down", which="bias")
norms = weights_of(*NORMS)


def with_earlier(subject: Subject) -> list[str]:
    """The whole, where an earlier step of the training is at hand."""
    return ["all"] if subject.earlier else []


def with_other(places: Places) -> Places:
    """The same places, where weights of another seed are at hand."""
    return lambda subject: places(subject) if subject.other else []
