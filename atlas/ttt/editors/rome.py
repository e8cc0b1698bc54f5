"""ROME: one fact after the other, each exactly, into one matrix.

Meng et al. 2022, "Locating and Editing Factual Associations in GPT" (arXiv 2202.05262). The key of a fact is averaged
over random texts in front of its sentence. The published code holds the key of the sentence alone to its value, in the
direction of the averaged one; ``r_rome`` is the corrected form of Gupta et al. 2024, "Rebuilding ROME" (arXiv
2403.07175): the averaged key and its averaged value throughout. A site with several tokens gives a fact several keys,
which are held together; the papers have one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from atlas.study.editor_settings import RomeSettings
from atlas.ttt.editors.editor import Editor, EditorState, Ground, solved
from atlas.ttt.editors.requests import RequestBatch, by_lane
from atlas.ttt.editors.value_search import Found, find_values


def exact(moment: Tensor, keys: Tensor, change: Tensor, held: Tensor | None = None) -> Tensor:
    """ROME (Meng et al. 2022, equation 2): the change that moves the corpus's values least and gives keys theirs.

    Minimises ``tr(D moment D')`` under ``D keys = change``; for one key that is
    ``change (moment^-1 k)' / (k' moment^-1 k)``. Where ``held`` is given, these keys get the change instead, ``D held =
    change``, in the directions that ``keys`` choose: ROME's published code holds the sentence's own key in the
    direction of the averaged one, which Gupta et al. 2024 (arXiv 2403.07175) find to be what breaks it.

    Args:
        moment: (in, in), E[k k'] over the keys of the corpus; float64, as moments of rarely active keys need it.
        keys: (in, n).
        change: (out, n), wanted of the keys' values. All arguments may have leading axes for lanes.
        held: (in, n).

    Returns the change of the matrix, (out, in); nan where keys depend on each other.
    """
    directions = solved(moment, keys)  # (in, n)
    overlap = directions.mT @ (keys if held is None else held)  # (n, n)
    update: Tensor = solved(overlap.mT, change.mT).mT @ directions.mT
    return update


class Rome(Editor):
    """ROME and r-ROME."""

    def __init__(self, settings: RomeSettings, ground: Ground) -> None:
        super().__init__(settings, ground)
        (slot,) = self.edits.slots
        self.moment = ground.moments[slot.site.path].to(self.device)
        self.one_key, self.together = settings.method == "r_rome", 1

    def write(self, batches: Sequence[RequestBatch]) -> tuple[EditorState, list[Found]]:
        theta, found = self.state.theta, []
        for batch in batches:
            seen = self.read(theta, batch)
            (all_keys,), (all_values,) = seen.keys, seen.values
            values = all_values[batch.alone]
            one = find_values(self.tail, batch, seen.hidden, values.norm(dim=1), self.settings.value)
            keys, held, change = batch.mean_of_keys(all_keys), all_keys[batch.alone], one.delta
            if self.one_key:
                held, change = keys, values + one.delta - batch.mean_of_keys(all_values)
            lanes = zip(*(by_lane(rows.double(), [batch]) for rows in (keys, change, held)), strict=True)
            updates = [exact(self.moment, k.T, r.T, h.T).T.flatten() for k, r, h in lanes]
            theta = theta + torch.stack(updates).float()
            found.append(one)
        return EditorState(theta, self.state.written), found
