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
from atlas.ttt.editors.editor import Editor, Effort, State, Style, effort
from atlas.ttt.editors.layout import Layout, by_lane
from atlas.ttt.editors.solve import null_basis, projected, spread
from atlas.ttt.editors.values import find_values
from atlas.ttt.editors.weights import Edits, Slot


class Spreading(Editor):
    """What MEMIT and AlphaEdit share. ``look_back``: the keys of facts written before count as the corpus's do."""

    def __init__(self, edits: Edits, lanes: int, style: Style, look_back: bool) -> None:
        super().__init__(edits, lanes, style)
        self.look_back = look_back
        if look_back:
            widths = {slot.width_in for slot in edits.slots}
            (width,) = widths
            self.state = State(self.state.theta, np.zeros((lanes, len(edits.slots), width, width), np.float32))

    @abstractmethod
    def solve(self, index: int, written: Tensor | float, keys: Tensor, change: Tensor) -> Tensor:
        """The update of edited matrix ``index`` in one lane, (out, in).

        ``written`` is the sum of k k' over the keys written before, ``keys`` (in, n), ``change`` (out, n).
        """

    def edit(self, facts: Sequence[Sequence[Fact]]) -> Effort:
        theta = torch.tensor(self.state.theta, device=self.device)
        layouts = self.layouts(self.requests(facts))
        if not layouts:
            return effort([], [], len(facts))
        self.edits.bind(theta)
        found, wanted = [], []
        for layout in layouts:
            hidden = self.read(layout, self.edits.slots[-1]).hidden
            alone = hidden[layout.alone]
            found.append(find_values(self.tail, layout, hidden, alone.norm(dim=1), self.style.value))
            wanted.append(alone + found[-1].delta)
        for index, slot in enumerate(self.edits.slots):
            self.edits.bind(theta)
            keys, reached = self._keys(layouts, slot)
            change = (torch.cat(wanted) - reached) / (len(self.edits.slots) - index)
            self.edits.updates(theta)[index].add_(self._updates(index, layouts, keys, change))
        self.state = State(theta.cpu().numpy(), self._remember(theta, layouts))
        return effort(found, layouts, len(facts))

    def _keys(self, layouts: Sequence[Layout], slot: Slot) -> tuple[Tensor, Tensor]:
        """Averaged keys at one matrix, (keys, in), and the last layer's outputs, (keys, width), lane after lane."""
        keys, reached = [], []
        for layout in layouts:
            seen = self.read(layout, slot)
            keys.append(layout.mean_of_keys(seen.keys))
            reached.append(seen.hidden[layout.alone])
        return torch.cat(keys), torch.cat(reached)

    def _updates(self, index: int, layouts: Sequence[Layout], keys: Tensor, change: Tensor) -> Tensor:
        """What is added to one matrix, (lanes, in, out)."""
        written = torch.from_numpy(self.state.written)
        updates = []
        for lane, (k, r) in enumerate(zip(by_lane(keys, layouts), by_lane(change, layouts), strict=True)):
            before = written[lane, index].to(self.device).double() if self.look_back else 0.0
            updates.append(self.solve(index, before, k.double().T, r.double().T).T.float())
        return torch.stack(updates)

    def _remember(self, theta: Tensor, layouts: Sequence[Layout]) -> np.ndarray:
        """``written`` with the keys of these facts, as they are in the edited model."""
        if not self.look_back:
            return self.state.written
        self.edits.bind(theta)
        written = self.state.written.copy()
        for index, slot in enumerate(self.edits.slots):
            keys, _ = self._keys(layouts, slot)
            for lane, k in enumerate(by_lane(keys, layouts)):
                written[lane, index] += (k.T @ k).cpu().numpy()
        return written


class Memit(Spreading):
    """MEMIT. ``moments`` has E[k k'] of every edited matrix's keys, by its path, which count ``weight`` times."""

    def __init__(
        self, edits: Edits, lanes: int, style: Style, moments: Mapping[str, Tensor], weight: float, look_back: bool
    ) -> None:
        super().__init__(edits, lanes, style, look_back)
        self.priors = [weight * moments[slot.site.path].to(self.device) for slot in edits.slots]

    def solve(self, index: int, written: Tensor | float, keys: Tensor, change: Tensor) -> Tensor:
        return spread(self.priors[index] + written, keys, change)


class AlphaEdit(Spreading):
    """AlphaEdit, in the directions that hold at most ``share`` of the keys' second moment, with weight ``ridge``."""

    def __init__(
        self, edits: Edits, lanes: int, style: Style, moments: Mapping[str, Tensor], share: float, ridge: float
    ) -> None:
        super().__init__(edits, lanes, style, look_back=True)
        self.bases = [null_basis(moments[slot.site.path].to(self.device), share) for slot in edits.slots]
        self.ridge = ridge

    def solve(self, index: int, written: Tensor | float, keys: Tensor, change: Tensor) -> Tensor:
        ridge = self.ridge * torch.eye(len(keys), dtype=keys.dtype, device=keys.device)
        return projected(self.bases[index], written + ridge, keys, change)
