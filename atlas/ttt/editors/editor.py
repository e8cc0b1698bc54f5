"""What all editors are: matrices of all lanes, facts that are written into them, and a state to go on from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.pool.facts import Fact
from atlas.study.editor_settings import Site, Value
from atlas.ttt.editors.layout import Layout, in_passes, lay_out
from atlas.ttt.editors.passes import Tail, layer_of, watched
from atlas.ttt.editors.requests import Request, request
from atlas.ttt.editors.values import Found
from atlas.ttt.engine.full import Full


@dataclass(frozen=True)
class State:
    """All that an editor goes on from.

    Attributes:
        theta: float32, (lanes, parameters): what was added to the edited matrices, see ``Full``.
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
    """What a pass showed of every token: inputs (tokens, in) and outputs (tokens, width) of each edited matrix, and
    ``hidden``, the residual stream behind the last one's layer, (tokens, width)."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    hidden: Tensor


class Editor(ABC):
    """Writes facts into every lane's own copies of a few matrices."""

    def __init__(self, edits: Full, lanes: int, style: Style) -> None:
        self.edits, self.style = edits, style
        theta = edits.none(lanes)
        self.device = theta.device
        self.state = State(theta.cpu().numpy(), np.zeros((lanes, 0, 0, 0), np.float32))
        self.tail = Tail(edits.model, edits.slots[-1].site.layer)

    @abstractmethod
    def edit(self, facts: Sequence[Sequence[Fact]]) -> Effort:
        """Write facts, lane by lane, and change ``state``. A lane may have none and then stays as it is.

        Raises AtlasError where the site needs the subject of a fact that has none.
        """

    def requests(self, facts: Sequence[Sequence[Fact]]) -> list[list[Request]]:
        """What is asked, lane by lane."""
        style = self.style
        return [
            [request(fact, style.site, style.contexts, style.origin, self.edits.model.text) for fact in lane]
            for lane in facts
        ]

    def layouts(self, lanes: Sequence[Sequence[Request]]) -> list[Layout]:
        """The requests laid out, some at a time: lane after lane, in order."""
        return [lay_out(part, self.device) for part in in_passes(lanes, self.device)]

    @torch.no_grad()
    def read(self, theta: Tensor, layout: Layout) -> Reading:
        """Run requests through the model with these edits, (lanes, parameters)."""
        self.edits.bind(theta)
        with ExitStack() as stack:
            behind = stack.enter_context(watched(layer_of(self.edits.model, self.tail.last)))
            matrices = [stack.enter_context(watched(slot.module)) for slot in self.edits.slots]
            self.edits.logits(layout.lines)
        return Reading(tuple(one.into for one in matrices), tuple(one.out for one in matrices), behind.out)


def effort(found: Sequence[Found], layouts: Sequence[Layout], lanes: int) -> Effort:
    """The lanes' means over the facts of some layouts."""
    owners = np.concatenate([np.arange(0), *(layout.lane_of_fact.cpu().numpy() for layout in layouts)])

    def mean(name: str) -> np.ndarray:
        each = np.concatenate([np.zeros(0, np.float32), *(getattr(one, name).cpu().numpy() for one in found)])
        sums, counts = (np.bincount(owners, weights, minlength=lanes) for weights in (each, None))
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)

    return Effort(mean("first"), mean("last"), mean("steps"))
