"""ROME: one fact after the other, each exactly, into one matrix.

Meng et al. 2022, "Locating and Editing Factual Associations in GPT" (arXiv 2202.05262). The key of a fact is averaged
over random texts in front of its sentence. The published code holds the key of the sentence alone to its value, in the
direction of the averaged one; ``r_rome`` is the corrected form of Gupta et al. 2024, "Rebuilding ROME" (arXiv
2403.07175): the averaged key and its averaged value throughout. A site with several characters gives a fact several
keys, which are held together; the papers have one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from atlas.pool.facts import Fact
from atlas.ttt.editors.editor import Editor, Effort, State, Style, effort
from atlas.ttt.editors.layout import Layout, by_lane
from atlas.ttt.editors.solve import exact
from atlas.ttt.editors.values import Found, find_values
from atlas.ttt.engine.full import Full


class Rome(Editor):
    """ROME, or r-ROME where ``one_key``. ``moments`` has E[k k'] of the edited matrix's keys, by its path."""

    def __init__(self, edits: Full, lanes: int, style: Style, moments: Mapping[str, Tensor], one_key: bool) -> None:
        super().__init__(edits, lanes, style)
        (self.slot,) = edits.slots
        self.moment = moments[self.slot.site.path].to(self.device)
        self.one_key = one_key

    def edit(self, facts: Sequence[Sequence[Fact]]) -> Effort:
        theta = torch.from_numpy(self.state.theta).to(self.device)
        lanes = self.requests(facts)
        done: list[tuple[Layout, Found]] = []
        for turn in range(max(map(len, lanes), default=0)):
            for layout in self.layouts([lane[turn : turn + 1] for lane in lanes]):
                update, found = self._updates(theta, layout)
                theta = theta + update
                done.append((layout, found))
        self.state = State(theta.cpu().numpy(), self.state.written)
        return effort([found for _, found in done], [layout for layout, _ in done], len(facts))

    def _updates(self, theta: Tensor, layout: Layout) -> tuple[Tensor, Found]:
        """What one fact of each lane adds, (lanes, parameters)."""
        seen = self.read(theta, layout)
        (all_keys,), (all_values,) = seen.keys, seen.values
        values = all_values[layout.alone]
        found = find_values(self.tail, layout, seen.hidden, values.norm(dim=1), self.style.value)
        keys, held, change = layout.mean_of_keys(all_keys), all_keys[layout.alone], found.delta
        if self.one_key:
            held, change = keys, values + found.delta - layout.mean_of_keys(all_values)
        lanes = zip(*(by_lane(rows.double(), [layout]) for rows in (keys, change, held)), strict=True)
        updates = [exact(self.moment, k.T, r.T, h.T).T.flatten() for k, r, h in lanes]
        return torch.stack(updates).float(), found
