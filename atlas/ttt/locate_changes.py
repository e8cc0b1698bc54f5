"""What is done to an adapter to see where in it facts sit: parts of it are taken out, halved, or turned at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.study.settings import Role
from atlas.ttt.engine.lanes import LinearSite
from atlas.ttt.locate_columns import HALVES

ATTENTION: frozenset[Role] = frozenset({"q", "k", "v", "o"})

Matrices: TypeAlias = tuple[Tensor, Tensor]
"""A and B of an adapter at one site, (in, rank) and (rank, out)."""


@dataclass(frozen=True)
class Unit:
    """A part of an adapter.

    Attributes:
        kind: one of ``atlas.ttt.locate_columns.UNITS``.
        sites: which of the adapter's sites are in it, by their places.
        layers: from the first to the last, of a layer, a group of layers, or a slot.
        role: of a role, or a slot.
        half: of a half.
    """

    kind: str
    sites: frozenset[int]
    layers: tuple[int, int] | None = None
    role: Role | None = None
    half: str | None = None


@dataclass(frozen=True)
class Change:
    """One of ``atlas.ttt.locate_columns.CHANGES``, done to a unit."""

    kind: str
    unit: Unit

    @property
    def adds(self) -> bool:
        """Whether it is made from the base, by adding the unit to it, and not from the whole adapter."""
        return self.kind == "only" or (self.kind == "without" and self.unit.kind == "all")


def groups_of(layers: int, groups: int | None) -> list[tuple[int, int]]:
    """The first and the last layer of so many groups of neighbours, as equal as can be; None: a group a layer.

    AtlasError where there are fewer layers than groups.
    """
    if groups and groups > layers:
        raise AtlasError(f"groups: {groups}, but the base has {plural(layers, 'layer')}; write at most {layers}")
    return [(int(part[0]), int(part[-1])) for part in np.array_split(np.arange(layers), groups or layers)]


def units_of(sites: Sequence[LinearSite], groups: Sequence[tuple[int, int]]) -> list[Unit]:
    """The whole adapter, then its halves, layers, roles and slots. Of halves, layers, or roles there are none where an
    adapter has only one, since that would be all of it; of slots there is one at least."""

    def within(group: tuple[int, int], role: Role | None = None) -> frozenset[int]:
        return frozenset(
            at
            for at, site in enumerate(sites)
            if group[0] <= site.layer <= group[1] and (role is None or site.role == role)
        )

    roles = list(dict.fromkeys(site.role for site in sites))
    whole = groups[0][0], groups[-1][1]
    halves = [
        Unit("half", frozenset(at for at, site in enumerate(sites) if (site.role in ATTENTION) == attends), half=half)
        for half, attends in zip(HALVES, (True, False), strict=True)
    ]
    layers = [Unit("layer", within(group), layers=group) for group in groups]
    of_roles = [Unit("role", within(whole, role), role=role) for role in roles]
    slots = [Unit("slot", within(group, role), group, role) for group in groups for role in roles]
    several = ([unit for unit in units if unit.sites] for units in (halves, layers, of_roles))
    return [
        Unit("all", within(whole)),
        *chain.from_iterable(units for units in several if len(units) > 1),
        *(slot for slot in slots if slot.sites),
    ]


def changes_of(units: Sequence[Unit]) -> Iterator[Change]:
    """All that is done: first nothing, then what leaves nothing, the base."""
    whole, *parts = units
    yield Change("intact", whole)
    yield Change("without", whole)
    for unit in parts:
        yield Change("without", unit)
        yield Change("only", unit)
        if unit.kind == "slot":
            yield Change("halved", unit)
            yield Change("rotated", unit)


def changed(adapter: Sequence[Matrices], turned: Sequence[Matrices], change: Change) -> list[Matrices]:
    """What a change leaves of an adapter, site by site; ``turned`` is the adapter with every site's update turned."""
    left = []
    for at, ((a, b), other) in enumerate(zip(adapter, turned, strict=True)):
        inside = at in change.unit.sites
        if change.kind == "rotated" and inside:
            left.append(other)
        elif change.kind == "halved" and inside:
            left.append((a, 0.5 * b))
        elif (change.kind == "without" and inside) or (change.kind == "only" and not inside):
            left.append((a, torch.zeros_like(b)))
        else:
            left.append((a, b))
    return left


def rotated(matrices: Matrices, draw: np.random.Generator) -> Matrices:
    """An update AB turned at random on both sides, Q AB P with Q and P orthogonal and uniform (Haar).

    Its singular values, so also its norm and its rank, stay; the directions that it reads and writes are others. A is a
    frame of orthonormal columns times a small matrix, and Q makes of the frame a uniform one; so that one is drawn.
    """
    a, b = matrices
    return _turned(a, draw), _turned(b.T, draw).T.contiguous()


def _turned(matrix: Tensor, draw: np.random.Generator) -> Tensor:
    """``Q matrix``, of (size, rank)."""
    within = np.linalg.qr(matrix.double().cpu().numpy()).R
    frame, scales = np.linalg.qr(draw.normal(size=tuple(matrix.shape)))
    frame *= np.sign(np.diag(scales))  # without this it would depend on how QR chooses signs
    return torch.from_numpy(frame @ within).to(matrix)
