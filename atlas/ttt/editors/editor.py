"""What all editors are: matrices of all lanes, facts that are written into them, and a state to go on from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.editing import Site, Value
from atlas.pool.facts import Fact
from atlas.ttt.editors.layout import Layout, in_passes, lay_out
from atlas.ttt.editors.passes import Tail, layer_of, watched
from atlas.ttt.editors.requests import Request, request
from atlas.ttt.editors.values import Found
from atlas.ttt.editors.weights import Edits, Slot


@dataclass(frozen=True)
class State:
    """All that an editor goes on from.

    Attributes:
        theta: float32, (lanes, parameters): what was added to the edited matrices, see ``Edits``.
        written: float32, (lanes, layers, in, in): sum of k k' over the keys of all facts written so far; (lanes, 0, 0,
            0) where the editor does not look back.
    """

    theta: np.ndarray
    written: np.ndarray


@dataclass(frozen=True)
class Effort:
    """The search for values of one call of ``edit``; every array float32, (lanes,), nan for a lane without facts.

    Attributes:
        first, last: mean over the lane's facts of the loss before and after the search, see ``values``.
        steps: mean number of steps.
    """

    first: np.ndarray
    last: np.ndarray
    steps: np.ndarray


@dataclass(frozen=True)
class Style:
    """What all editors take: where facts are written, behind which random texts, how values are found.

    ``origin`` is the pool's name, for errors.
    """

    site: Site
    contexts: Sequence[np.ndarray]
    value: Value
    origin: str


@dataclass(frozen=True)
class Reading:
    """What a pass showed at one edited matrix: inputs (tokens, in), outputs and the layer's output (tokens, width)."""

    keys: Tensor
    values: Tensor
    hidden: Tensor


class Editor(ABC):
    """Writes facts into every lane's own copies of a few matrices."""

    def __init__(self, edits: Edits, lanes: int, style: Style) -> None:
        self.edits, self.style = edits, style
        theta = edits.none(lanes)
        self.device = theta.device
        self.state = State(theta.cpu().numpy(), np.zeros((lanes, 0, 0, 0), np.float32))
        self.tail = Tail(edits.model, edits.slots[-1].site.layer, edits.roles)

    @abstractmethod
    def edit(self, facts: Sequence[Sequence[Fact]]) -> Effort:
        """Write facts, lane by lane, and change ``state``. A lane may have none and then stays as it is.

        Raises AtlasError where the site needs the subject of a fact that has none.
        """

    def requests(self, facts: Sequence[Sequence[Fact]]) -> list[list[Request]]:
        """What is asked, lane by lane."""
        style = self.style
        return [[request(fact, style.site, style.contexts, style.origin) for fact in lane] for lane in facts]

    def layouts(self, lanes: Sequence[Sequence[Request]]) -> list[Layout]:
        """The requests laid out, some at a time: lane after lane, in order."""
        return [lay_out(part, self.device) for part in in_passes(lanes, self.device)]

    @torch.no_grad()
    def read(self, layout: Layout, slot: Slot) -> Reading:
        """Run the requests through the model as it is bound; look at a matrix and behind the last edited layer."""
        behind = layer_of(self.edits.model, self.tail.last, self.edits.roles)
        with watched(slot.module) as matrix, watched(behind) as layer:
            self.edits.logits(layout.lines)
        return Reading(matrix.into, matrix.out, layer.out)


def effort(found: Sequence[Found], layouts: Sequence[Layout], lanes: int) -> Effort:
    """The lanes' means over the facts of some layouts."""
    owners = torch.cat([layout.lane_of_fact for layout in layouts]) if layouts else torch.zeros(0, dtype=torch.int64)
    counts = torch.bincount(owners, minlength=lanes)

    def mean(parts: Sequence[Tensor]) -> np.ndarray:
        each = torch.cat([torch.zeros(0), *(part.float() for part in parts)])
        return (torch.zeros(lanes).index_add(0, owners, each) / counts).numpy()

    return Effort(*(mean([getattr(one, name) for one in found]) for name in ("first", "last", "steps")))
