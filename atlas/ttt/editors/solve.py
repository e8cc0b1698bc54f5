"""The closed forms: changes of a matrix that give keys their values and disturb other keys least.

Matrices act on columns here, as in the papers: W (out, in), keys (in, n), wanted changes of their values (out, n), and
``moment`` (in, in) is E[k k'] over the keys of the corpus. All may have leading axes for lanes. Float64 throughout: the
moments of keys that are rarely active are badly conditioned.
"""

from __future__ import annotations

import torch
from torch import Tensor


def exact(moment: Tensor, keys: Tensor, change: Tensor, held: Tensor | None = None) -> Tensor:
    """ROME (Meng et al. 2022, equation 2): the change that moves the corpus's values least and gives keys theirs.

    Minimises ``tr(D moment D')`` under ``D keys = change``; for one key that is
    ``change (moment^-1 k)' / (k' moment^-1 k)``. Where ``held`` is given, these keys get the change instead, ``D held =
    change``, in the directions that ``keys`` choose: ROME's published code holds the sentence's own key in the
    direction of the averaged one, which Gupta et al. 2024 (arXiv 2403.07175) find to be what breaks it.

    Raises torch.linalg.LinAlgError where keys depend on each other.
    """
    directions = torch.linalg.solve(moment, keys)  # (in, n)
    overlap = directions.mT @ (keys if held is None else held)  # (n, n)
    update: Tensor = torch.linalg.solve(overlap.mT, change.mT).mT @ directions.mT
    return update


def spread(prior: Tensor, keys: Tensor, change: Tensor) -> Tensor:
    """MEMIT (Meng et al. 2023, equation 14): a compromise between keys and what ``prior`` stands for, the corpus.

    Minimises ``tr(D prior D') + |D keys - change|^2``.
    """
    update: Tensor = torch.linalg.solve(prior + keys @ keys.mT, keys @ change.mT).mT
    return update


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
