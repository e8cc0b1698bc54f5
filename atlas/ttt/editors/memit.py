"""MEMIT and AlphaEdit: all facts of a session at once, by least squares, spread over the matrices of some layers.

Meng et al. 2023, "Mass-Editing Memory in a Transformer" (arXiv 2210.07229): the output ``z`` that the last layer should
have is found for every fact; then, layer by layer, each matrix takes 1 / (layers left) of what is missing there, and
what is missing is measured again. Fang et al. 2025, "AlphaEdit" (arXiv 2410.02355): the same, but each matrix changes
only in directions that the corpus hardly uses, and the keys of facts written before are to keep their values.

In the closed forms matrices act on columns, as in the papers: W (out, in), keys (in, n), wanted changes of their values
(out, n), and ``moment`` (in, in) is E[k k'] over the keys of the corpus. All may have leading axes for lanes. They are
float64 throughout: the moments of keys that are rarely active are badly conditioned.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from atlas.study.editor_settings import AlphaEditSettings, MemitSettings
from atlas.ttt.editors.editor import Editor, EditorState, Ground, Reading, solved
from atlas.ttt.editors.requests import RequestBatch, by_lane
from atlas.ttt.editors.value_search import Found, find_values


def spread(prior: Tensor, keys: Tensor, change: Tensor) -> Tensor:
    """MEMIT (Meng et al. 2023, equation 14): a compromise between keys and what ``prior`` stands for, the corpus.

    Minimises ``tr(D prior D') + |D keys - change|^2``.
    """
    return solved(prior + keys @ keys.mT, keys @ change.mT).mT


def null_basis(moment: Tensor, share: float) -> Tensor:
    """Directions that the corpus hardly uses: the eigenvectors of the smallest eigenvalues, (in, directions).

    As many as hold together at most ``share`` of the trace, which is the mean squared length of a key. AlphaEdit (Fang
    et al. 2025, arXiv 2410.02355, section 3) takes those with eigenvalues below a fixed number, which depends on the
    scale of the activations; a share does not.
    """
    values, vectors = torch.linalg.eigh(moment)
    held = values.clamp(min=0).cumsum(0) / values.clamp(min=0).sum()
    basis: Tensor = vectors[:, held <= share]
    return basis


def projected(basis: Tensor, prior: Tensor, keys: Tensor, change: Tensor) -> Tensor:
    """AlphaEdit (Fang et al. 2025, section 3): as ``spread``, in the directions of ``basis`` only.

    With P = basis basis', minimises ``tr(D prior D') + |D keys - change|^2`` under ``D = D P``. The paper's prior is
    the keys written before, Kp Kp', plus a multiple of the identity. Solved among the coordinates of the basis, which
    is the same and better conditioned.
    """
    inner = spread(basis.mT @ prior @ basis, basis.mT @ keys, change)  # (out, directions)
    return inner @ basis.mT


class Spreading(Editor):
    """What MEMIT and AlphaEdit share. ``look_back``: the keys of facts written before count as the corpus's do."""

    def __init__(self, settings: MemitSettings | AlphaEditSettings, ground: Ground, look_back: bool) -> None:
        super().__init__(settings, ground)
        self.look_back = look_back
        self.moments = [ground.moments[slot.site.path].to(self.device) for slot in self.edits.slots]
        if look_back:
            (width,) = {slot.module.base.in_features for slot in self.edits.slots}
            theta = self.state.theta
            self.state = EditorState(theta, theta.new_zeros(ground.lanes, len(self.edits.slots), width, width))

    @abstractmethod
    def solve(self, index: int, written: Tensor | float, keys: Tensor, change: Tensor) -> Tensor:
        """The update of edited matrix ``index`` in one lane, (out, in).

        ``written`` is the sum of k k' over the keys written before, ``keys`` (in, n), ``change`` (out, n).
        """

    def write(self, batches: Sequence[RequestBatch]) -> tuple[EditorState, list[Found]]:
        if not batches:
            return self.state, []
        theta, written, layers = self.state.theta.clone(), self.state.written.clone(), len(self.edits.slots)
        readings = [self.read(theta, batch) for batch in batches]
        found = [
            find_values(self.tail, batch, seen.hidden, seen.hidden[batch.alone].norm(dim=1), self.settings.value)
            for batch, seen in zip(batches, readings, strict=True)
        ]
        wanted = _reached(batches, readings) + torch.cat([one.delta for one in found])
        for index in range(layers):
            if index:
                readings = [self.read(theta, batch) for batch in batches]
            keys = by_lane(_keys(index, batches, readings), batches)
            changes = by_lane((wanted - _reached(batches, readings)) / (layers - index), batches)
            updates = self.edits.updates(theta)[index]
            for lane, (k, r) in enumerate(zip(keys, changes, strict=True)):
                before = written[lane, index].double() if self.look_back else 0.0
                updates[lane] += self.solve(index, before, k.double().T, r.double().T).T.float()
        if self.look_back:  # the keys of these facts as they are in the edited model
            readings = [self.read(theta, batch) for batch in batches]
            for index in range(layers):
                for lane, k in enumerate(by_lane(_keys(index, batches, readings), batches)):
                    written[lane, index] += k.T @ k
        return EditorState(theta, written), found


def _keys(index: int, batches: Sequence[RequestBatch], readings: Sequence[Reading]) -> Tensor:
    """Averaged keys at one edited matrix, (keys, in), lane after lane; the sentence alone counts one half."""
    pairs = zip(batches, readings, strict=True)
    return torch.cat([batch.mean_of_keys(seen.keys[index], halves=True) for batch, seen in pairs])


def _reached(batches: Sequence[RequestBatch], readings: Sequence[Reading]) -> Tensor:
    """What the last edited layer gives at the keys of the sentences alone, (keys, width), lane after lane."""
    return torch.cat([seen.hidden[batch.alone] for batch, seen in zip(batches, readings, strict=True)])


class Memit(Spreading):
    """MEMIT, where the keys of the corpus count ``covariance_weight`` times."""

    def __init__(self, settings: MemitSettings, ground: Ground) -> None:
        super().__init__(settings, ground, settings.look_back)
        self.priors = [settings.covariance_weight * moment for moment in self.moments]

    def solve(self, index: int, written: Tensor | float, keys: Tensor, change: Tensor) -> Tensor:
        return spread(self.priors[index] + written, keys, change)


class AlphaEdit(Spreading):
    """AlphaEdit, in the directions that hold at most ``null_share`` of the keys' second moment."""

    def __init__(self, settings: AlphaEditSettings, ground: Ground) -> None:
        super().__init__(settings, ground, look_back=True)
        self.bases = [null_basis(moment, settings.null_share) for moment in self.moments]
        self.ridge = settings.ridge

    def solve(self, index: int, written: Tensor | float, keys: Tensor, change: Tensor) -> Tensor:
        ridge = self.ridge * torch.eye(len(keys), dtype=keys.dtype, device=keys.device)
        return projected(self.bases[index], written + ridge, keys, change)
