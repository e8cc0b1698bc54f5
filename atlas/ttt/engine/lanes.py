"""Models that run lane by lane: every lane (seed) adds weights of its own to some linear layers of one frozen base.

All weights that all lanes add are one tensor ``theta``, shape (lanes, parameters), so that copying, blending, anchoring
and optimising them is one operation on one tensor; so are their gradients.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atlas.base.attention import Packed
from atlas.base.language import LanguageModel
from atlas.errors import AtlasError
from atlas.study.jobs import Precision
from atlas.study.settings import Role
from atlas.ttt.engine.lines import IGNORED, Batch
from atlas.ttt.engine.products import FrozenLinear, product_of

BASE = "base"  # where a LaneLinear holds the layer that it adds to
TAP = torch.zeros((), requires_grad=True)  # an input that makes autograd come to a layer whose weights it does not know


@dataclass(frozen=True)
class LinearSite:
    """One linear layer of a model to which lanes may add."""

    layer: int
    role: Role
    path: str
    parent: nn.Module
    name: str

    @property
    def linear(self) -> nn.Linear:
        """The linear module that stands there now; AtlasError where it is something else."""
        module = getattr(self.parent, self.name)
        if not isinstance(module, nn.Linear):
            raise AtlasError(
                f"{self.path}: found {type(module).__name__}, expected a linear layer for role {self.role}"
            )
        return module


def sites(model: LanguageModel) -> list[LinearSite]:
    """All sites of a model, layer by layer, in the order of the role map."""
    found, roles = [], model.roles
    for layer in range(len(list(model.get_submodule(roles.layers).children()))):
        for role, inside in roles.roles.items():
            path = f"{roles.layers}.{layer}.{inside}"
            parent, _, name = path.rpartition(".")
            found.append(LinearSite(layer, role, path, model.get_submodule(parent), name))
    return found


def chosen(model: LanguageModel, targets: Sequence[Role]) -> list[LinearSite]:
    """The sites of some roles. AtlasError where the model has none of a role."""
    if strange := [role for role in targets if role not in model.roles.roles]:
        has = ", ".join(model.roles.roles)
        raise AtlasError(f"targets: the base has no linear layers of role {strange[0]!r}; it has {has}")
    return [site for site in sites(model) if site.role in targets]


def compute_in(model: LanguageModel, precision: Precision) -> None:
    """Let the products with a model's linear layers be of a precision; whatever is added to them is float32.

    Its weights are on their device by now, and nothing is added to it yet.
    """
    if precision == "bfloat16":
        for site in sites(model):
            setattr(site.parent, site.name, FrozenLinear(site.linear))


@dataclass
class Lanes:
    """Whose rows are whose in a matrix of tokens: lane i has ``sizes[i]`` rows behind those of the lanes before it.

    Where a matrix has fewer rows than these, it has the tokens that are asked for: ``asked[i]`` of each lane.
    """

    sizes: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()

    def of(self, rows: Tensor) -> tuple[int, ...]:
        """The rows of each lane in a matrix."""
        return self.sizes if len(rows) == sum(self.sizes) else self.asked

    def _split(self, rows: Tensor) -> tuple[Tensor, ...]:
        return torch.split(rows, list(self.of(rows)))

    def product(self, x: Tensor, weights: Tensor, scale: float = 1.0) -> Tensor:
        """``scale x W``, every lane's rows by its own W. x (rows, in), W (lanes, in, out)."""
        return self.add(x.new_empty(len(x), weights.shape[2]), x, weights, scale, keep=0.0)

    def add(self, out: Tensor, x: Tensor, weights: Tensor, scale: float = 1.0, keep: float = 1.0) -> Tensor:
        """``out <- keep out + scale x W``, arguments as of ``product``."""
        if len(set(self.of(x))) == 1:
            into, rows = out.view(len(weights), -1, out.shape[1]), x.view(len(weights), -1, x.shape[1])
            into.baddbmm_(rows, weights, beta=keep, alpha=scale)
            return out
        for into, rows, weight in zip(self._split(out), self._split(x), weights.unbind(), strict=True):
            if len(rows):
                into.addmm_(rows, weight, beta=keep, alpha=scale)
        return out

    def add_gradient(self, out: Tensor, x: Tensor, grad: Tensor, scale: float = 1.0) -> None:
        """``out <- out + scale x' grad``, lane by lane: the gradient of W. out (lanes, in, out)."""
        if len(set(self.of(x))) == 1:
            rows, grads = (part.view(len(out), -1, part.shape[1]) for part in (x, grad))
            out.baddbmm_(rows.transpose(1, 2), grads, alpha=scale)
            return
        for into, rows, back in zip(out.unbind(), self._split(x), self._split(grad), strict=True):
            into.addmm_(rows.T, back, alpha=scale)


@dataclass(frozen=True)
class TrainedParts:
    """The parts of one site's weights that lanes add, (lanes, ...) each, and where their gradients are summed: nowhere,
    where they are not trained."""

    parts: Sequence[Tensor]
    grads: Sequence[Tensor]


class LaneLinear(nn.Module, ABC):
    """A frozen linear layer to which every lane adds its own weights. Inputs are (..., in), lane after lane.

    Args:
        shapes: of the parts of what a lane adds, by name, in the order of ``theta``.
        scale: what is added is scaled by.
    """

    def __init__(self, base: nn.Linear, lanes: Lanes, shapes: Mapping[str, tuple[int, int]], scale: float = 1.0):
        super().__init__()
        self.base = base
        self.product = product_of(base)
        self.lanes = lanes  # shared by all layers, since a batch has the same lanes everywhere
        self.shapes = shapes
        self.scale = scale
        self.trained: TrainedParts | None = None  # while they train, or are not merged; with neither of the two this
        # runs as the base
        self.merged: Tensor | None = None  # (lanes, in, out): ``sum`` of the parts, where nothing is to be trained

    @abstractmethod
    def update(self, parts: Sequence[Tensor]) -> Tensor:
        """What the parts add to the base's matrix, (lanes, in, out)."""

    @abstractmethod
    def sum(self, parts: Sequence[Tensor]) -> Tensor:
        """The base's matrix with what the parts add, (lanes, in, out)."""

    @abstractmethod
    def run(self, rows: Tensor, trained: TrainedParts) -> Tensor:
        """The layer's output for (rows, in); a backward pass adds to the gradients of what is trained."""

    def lanes_of(self, rows: Tensor, parts: Sequence[Tensor]) -> Lanes:
        """Whose rows are whose in (rows, ...): a single lane has all."""
        return replace(self.lanes) if len(parts[0]) > 1 else Lanes((len(rows),))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if self.trained is not None:
            wide = self.run(rows, self.trained)
        elif self.merged is not None:
            wide = self.lanes_of(rows, [self.merged]).product(rows, self.merged)
            wide = wide if self.base.bias is None else wide.add_(self.base.bias)
        else:
            out: Tensor = self.base(x)
            return out
        return wide if x.dim() == 2 else wide.view(*x.shape[:-1], -1)


def base_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a model that lanes may add to, by the names they had before."""
    inside = f".{BASE}."
    return {name.replace(inside, "."): tensor for name, tensor in model.state_dict().items()}


@dataclass(frozen=True)
class Slot:
    """A site to which lanes add, and the layer that stands there now."""

    site: LinearSite
    module: LaneLinear


@dataclass(frozen=True)
class Pull:
    """Targets of a batch that are no tokens but distributions.

    Attributes:
        places: int64, (pulled,): which targets they are, lane after lane; ``sizes`` has how many of each lane.
        chances: (pulled, symbols): what each is pulled toward.
    """

    places: Tensor
    sizes: tuple[int, ...]
    chances: Tensor

    @classmethod
    def last_of(cls, lines: Batch, sizes: Sequence[int], chances: Tensor) -> Pull:
        """The last targets of each lane, so many."""
        lanes = torch.split(torch.arange(len(lines.targets), device=chances.device), list(lines.predicted))
        places = torch.cat([lane[len(lane) - size :] for lane, size in zip(lanes, sizes, strict=True)])
        return cls(places, tuple(sizes), chances)

    def part(self, lanes: slice, first: int) -> Pull:
        """Those of some lanes, whose targets begin at ``first``."""
        sizes = self.sizes[lanes]
        ours = slice(start := sum(self.sizes[: lanes.start]), start + sum(sizes))
        return Pull(self.places[ours] - first, sizes, self.chances[ours])


class LaneModel:
    """A model that runs lanes side by side, each with what it was taught; without slots, the base alone."""

    def __init__(self, model: LanguageModel, slots: Sequence[Slot] = (), lanes: Lanes | None = None) -> None:
        self.model, self.slots, self.lanes = model, tuple(slots), lanes or Lanes()
        self._sizes = [math.prod(shape) for slot in self.slots for shape in slot.module.shapes.values()]
        self.parameters = sum(self._sizes)

    @classmethod
    def _put(
        cls,
        model: LanguageModel,
        targets: Sequence[Role],
        layers: Collection[int],
        make: Callable[[LinearSite, Lanes], LaneLinear],
    ) -> Self:
        """Freeze a model and put what ``make`` makes at the sites of the target roles in these layers."""
        model.requires_grad_(False)
        slots, lanes = [], Lanes()
        for site in chosen(model, targets):
            if site.layer in layers:
                module = make(site, lanes)
                setattr(site.parent, site.name, module)
                slots.append(Slot(site, module))
        return cls(model, slots, lanes)

    def initial(self, base_seed: int, seeds: Sequence[int]) -> Tensor:  # noqa: ARG002
        """``theta`` to start from, (lanes, parameters): nothing is drawn, all lanes begin as the base."""
        return torch.zeros(len(seeds), self.parameters)

    def bind(self, theta: Tensor | None) -> None:
        """Let the model run with what is in ``theta``, or as the base; nothing is to be trained."""
        for slot in self.slots:
            slot.module.trained = slot.module.merged = None
        if theta is not None:
            for slot, parts in zip(self.slots, self._parts(theta), strict=True):
                if slot.module.product.reduced:  # a sum would have to be rounded, and small updates would vanish
                    slot.module.trained = TrainedParts(parts, ())
                else:
                    slot.module.merged = slot.module.sum(parts)

    def train(self, theta: Tensor, grad: Tensor) -> None:
        """Let the model run with what is in ``theta``; backward passes add their gradients to ``grad``."""
        for slot, parts, grads in zip(self.slots, self._parts(theta), self._parts(grad), strict=True):
            slot.module.trained, slot.module.merged = TrainedParts(parts, grads), None

    def descend(self, lines: Batch, counts: Tensor, pull: Pull | None = None) -> tuple[Tensor, Tensor]:
        """Run a batch forward and backward, and add up the gradients of what trains, see ``train``.

        Args:
            counts: how much each target counts in the loss, (targets,); the loss is the sum over them.
            pull: targets for which distributions stand; the loss of these is the cross entropy with them.

        Returns:
            Negative log-likelihoods of the targets, nats, (targets,), and the logits behind them, (targets, symbols),
            without a graph.
        """
        nll, logits = self.nll(lines)
        costs = nll
        if pull:
            costs = nll.index_copy(0, pull.places, F.cross_entropy(logits[pull.places], pull.chances, reduction="none"))
        torch.autograd.backward((costs * counts).sum())
        return nll.detach(), logits.detach()

    def nll(self, lines: Batch) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of every target of a batch in nats (0 where ignored), (targets,), and its logits."""
        logits = self.logits(lines)[lines.outputs]
        return F.cross_entropy(logits, lines.targets, ignore_index=IGNORED, reduction="none"), logits

    @torch.no_grad()
    def base_logits(self, lines: Batch) -> Tensor:
        """What the base alone gives for every target of a batch, (targets, symbols); what runs now stays as it is."""
        modules = [slot.module for slot in self.slots]
        kept = [(module.trained, module.merged) for module in modules]
        self.bind(None)
        logits = self.logits(lines)[lines.outputs]
        for module, (trained, merged) in zip(modules, kept, strict=True):
            module.trained, module.merged = trained, merged
        return logits

    def logits(self, lines: Batch) -> Tensor:
        """Logits of the next token at the tokens of a batch that are asked for, (asked, symbols)."""
        return self.run(lines.tokens, lines.positions, lines.packed, lines.lanes, lines.asked)

    def run(
        self, tokens: Tensor, positions: Tensor, packed: Packed, lanes: tuple[int, ...], asked: tuple[int, ...] = ()
    ) -> Tensor:
        """Logits of the tokens of packed lines that are asked for, (asked, symbols).

        ``lanes`` has the tokens of each lane, ``asked`` those that are asked for, where not all are.
        """
        self.lanes.sizes, self.lanes.asked = lanes, asked
        logits: Tensor = self.model(tokens, positions, packed)
        return logits

    def _parts(self, theta: Tensor) -> list[list[Tensor]]:
        """The parts of every slot, as views into ``theta``, (lanes, ...) each."""
        flat = iter(torch.split(theta, self._sizes, dim=1))
        shapes = [slot.module.shapes.values() for slot in self.slots]
        return [[next(flat).view(len(theta), *shape) for shape in some] for some in shapes]

    def updates(self, theta: Tensor) -> list[Tensor]:
        """What is added to each matrix, slot by slot, shaped (lanes, in, out)."""
        return [slot.module.update(parts) for slot, parts in zip(self.slots, self._parts(theta), strict=True)]

    @property
    def names(self) -> list[str]:
        """``PATH.PART`` of every part of every slot, in the order of ``theta``."""
        return [f"{slot.site.path}.{part}" for slot in self.slots for part in slot.module.shapes]

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """The parts by name, (lanes, ...) each, for saving."""
        parts = (part.contiguous() for some in self._parts(theta.detach()) for part in some)
        return dict(zip(self.names, parts, strict=True))

    def joined(self, named: Mapping[str, Tensor]) -> Tensor:
        """``theta`` from tensors as ``named`` gives them, (lanes, parameters)."""
        return torch.cat([named[name].flatten(1) for name in self.names], dim=1)
