"""MEMIT and AlphaEdit: all facts of a session at once, by least squares, spread over the matrices of some layers.

Meng et al. 2023, "Mass-Editing Memory in a Transformer" (arXiv 2210.07229): the output ``z`` that the last layer should
have is found for every fact; then, layer by layer, each matrix takes 1 / (layers left) of what is missing there, and
what is missing is measured again. Fang et al. 2025, "AlphaEdit" (arXiv 2410.02355): the same, but each matrix changes
only in directions that the corpus hardly uses, and the keys of facts written before are to keep their values.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from atlas.pool.facts import Fact
from atlas.ttt.editors.editor import Editor, Effort, Reading, State, Style, effort
from atlas.ttt.editors.layout import Layout, by_lane
from atlas.ttt.editors.solve import null_basis, projected, spread
from atlas.ttt.editors.values import Found, find_values
from atlas.ttt.engine.full import Full


class Spreading(Editor):
    """What MEMIT and AlphaEdit share. ``look_back``: the keys of facts written before count as the corpus's do."""

    def __init__(self, edits: Full, lanes: int, style: Style, look_back: bool) -> None:
        super().__init__(edits, lanes, style)
        self.look_back = look_back
        if look_back:
            (width,) = {slot.width_in for slot in edits.slots}
            self.state = State(self.state.theta, np.zeros((lanes, len(edits.slots), width, width), np.float32))

    @abstractmethod
    def solve(self, index: int, written: Tensor | float, keys: Tensor, change: Tensor) -> Tensor:
        """The update of edited matrix ``index`` in one lane, (out, in).

        ``written`` is the sum of k k' over the keys written before, ``keys`` (in, n), ``change`` (out, n).
        """

    def edit(self, facts: Sequence[Sequence[Fact]]) -> Effort:
        layouts = self.layouts(self.requests(facts))
        if not layouts:
            return effort([], [], len(facts))
        theta = torch.tensor(self.state.theta, device=self.device)
        readings = [self.read(theta, layout) for layout in layouts]
        found = [self._found(layout, seen) for layout, seen in zip(layouts, readings, strict=True)]
        wanted = _reached(layouts, readings) + torch.cat([one.delta for one in found])
        for index in range(len(self.edits.slots)):
            if index:
                readings = [self.read(theta, layout) for layout in layouts]
            change = (wanted - _reached(layouts, readings)) / (len(self.edits.slots) - index)
            update = self._updates(index, layouts, _keys(index, layouts, readings), change)
            self.edits.updates(theta)[index].add_(update)
        self.state = State(theta.cpu().numpy(), self._written(theta, layouts))
        return effort(found, layouts, len(facts))

    def _found(self, layout: Layout, seen: Reading) -> Found:
        lengths = seen.hidden[layout.alone].norm(dim=1)
        return find_values(self.tail, layout, seen.hidden, lengths, self.style.value)

    def _updates(self, index: int, layouts: Sequence[Layout], keys: Tensor, change: Tensor) -> Tensor:
        """What is added to one matrix, (lanes, in, out)."""
        written = torch.from_numpy(self.state.written)
        updates = []
        for lane, (k, r) in enumerate(zip(by_lane(keys, layouts), by_lane(change, layouts), strict=True)):
            before = written[lane, index].to(self.device).double() if self.look_back else 0.0
            updates.append(self.solve(index, before, k.double().T, r.double().T).T.float())
        return torch.stack(updates)

    def _written(self, theta: Tensor, layouts: Sequence[Layout]) -> np.ndarray:
        """``written`` with the keys of these facts, as they are in the edited model."""
        if not self.look_back:
            return self.state.written
        readings = [self.read(theta, layout) for layout in layouts]
        written = self.state.written.copy()
        for index in range(len(self.edits.slots)):
            for lane, keys in enumerate(by_lane(_keys(index, layouts, readings), layouts)):
                written[lane, index] += (keys.T @ keys).cpu().numpy()
        return written


def _keys(index: int, layouts: Sequence[Layout], readings: Sequence[Reading]) -> Tensor:
    """Averaged keys at one edited matrix, (keys, in), lane after lane."""
    return torch.cat([layout.mean_of_keys(seen.keys[index]) for layout, seen in zip(layouts, readings, strict=True)])


def _reached(layouts: Sequence[Layout], readings: Sequence[Reading]) -> Tensor:
    """What the last edited layer gives at the keys of the sentences alone, (keys, width), lane after lane."""
    return torch.cat([seen.hidden[layout.alone] for layout, seen in zip(layouts, readings, strict=True)])


class Memit(Spreading):
    """MEMIT. ``moments`` has E[k k'] of every edited matrix's keys, by its path, which count ``weight`` times."""

    def __init__(
        self, edits: Full, lanes: int, style: Style, moments: Mapping[str, Tensor], weight: float, look_back: bool
    ) -> None:
        super().__init__(edits, lanes, style, look_back)
        self.priors = [weight * moments[slot.site.path].to(self.device) for slot in edits.slots]

    def solve(self, index: int, written: Tensor | float, keys: Tensor, change: Tensor) -> Tensor:
        return spread(self.priors[index] + written, keys, change)


class AlphaEdit(Spreading):
    """AlphaEdit, in the directions that hold at most ``share`` of the keys' second moment, with weight ``ridge``."""

    def __init__(
        self, edits: Full, lanes: int, style: Style, moments: Mapping[str, Tensor], share: float, ridge: float
    ) -> None:
        super().__init__(edits, lanes, style, look_back=True)
        self.bases = [null_basis(moments[slot.site.path].to(self.device), share) for slot in edits.slots]
        self.ridge = ridge

    def solve(self, index: int, written: Tensor | float, keys: Tensor, change: Tensor) -> Tensor:
        ridge = self.ridge * torch.eye(len(keys), dtype=keys.dtype, device=keys.device)
        return projected(self.bases[index], written + ridge, keys, change)
