"""Wrong numbers in the right place, and changes that are none by mathematics."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from atlas.guard.faults.kinds import Patient, biases, embeddings, kind, layers, matrices, norms, of, weights_of, whole


@kind("missing", "half the outputs zero", matrices)
def _outputs(to: Patient, at: str) -> None:
    to.tensors[at][len(to.tensors[at]) // 2 :] = 0


@kind("missing", "half the inputs zero", matrices)
def _inputs(to: Patient, at: str) -> None:
    to.tensors[at][:, to.tensors[at].shape[1] // 2 :] = 0


@kind("missing", "a matrix zero", matrices)
def _zero(to: Patient, at: str) -> None:
    to.tensors[at].zero_()


@kind("missing", "a norm's weight zero", norms)
def _zero_norm(to: Patient, at: str) -> None:
    to.tensors[at].zero_()


def _times(to: Patient, at: str, factor: float) -> None:
    to.tensors[at] = to.tensors[at] * factor


for name, places, factor in (
    ("a matrix, by 0.5", matrices, 0.5),
    ("a matrix, by 2", matrices, 2.0),
    ("a matrix, by -1", matrices, -1.0),
    ("a norm's weight, by 2", norms, 2.0),
    ("a bias, by 2", biases, 2.0),
    ("embeddings, by 0.5", embeddings, 0.5),
):
    kind("scaled", name, places)(partial(_times, factor=factor))


def _noise(to: Patient, at: str, share: float) -> None:
    values = to.tensors[at]
    drawn = torch.from_numpy(to.draw.normal(size=values.shape)).float()
    to.tensors[at] = values + drawn * (share * float(values.square().mean().sqrt()))


kind("noise", "1% on a matrix", matrices, unknowable=True)(partial(_noise, share=0.01))
kind("noise", "10% on a matrix", matrices)(partial(_noise, share=0.1))
kind("noise", "50% on a matrix", matrices)(partial(_noise, share=0.5))


@kind("noise", "10% on all matrices", whole)
def _everywhere(to: Patient, _at: str) -> None:
    for name in matrices(to.subject):
        _noise(to, name, 0.1)


kind("noise", "10% on the embeddings", embeddings)(partial(_noise, share=0.1))


@kind("rounding", "all to bfloat16 and back", whole, unknowable=True)
def _all_rounded(to: Patient, _at: str) -> None:
    to.tensors = {name: values.bfloat16().float() for name, values in to.tensors.items()}


@kind("rounding", "a matrix to bfloat16 and back", matrices)
def _one_rounded(to: Patient, at: str) -> None:
    to.tensors[at] = to.tensors[at].bfloat16().float()


def _one_value(to: Patient, at: str) -> np.ndarray:
    """A view of one value of a tensor, as its 32 bits, shape (1,)."""
    flat = to.tensors[at].view(-1)
    place = int(to.draw.integers(len(flat)))
    found: np.ndarray = flat[place : place + 1].numpy().view(np.uint32)
    return found


@kind("bits", "one NaN", matrices)
def _nan(to: Patient, at: str) -> None:
    _one_value(to, at)[:] = 0x7FC00000


@kind("bits", "one infinity", matrices)
def _infinity(to: Patient, at: str) -> None:
    _one_value(to, at)[:] = 0x7F800000


@kind("bits", "lowest bit of one value", matrices, unknowable=True)
def _lowest(to: Patient, at: str) -> None:
    _one_value(to, at)[:] ^= 1


@kind("bits", "sign of one value", matrices, unknowable=True)
def _sign(to: Patient, at: str) -> None:
    _one_value(to, at)[:] ^= 0x80000000


@kind("bits", "highest bit of one exponent", matrices)
def _exponent(to: Patient, at: str) -> None:
    _one_value(to, at)[:] ^= 0x40000000


@kind("harmless", "hidden units permuted, up and down alike", layers, harmless=True)
def _units(to: Patient, at: str) -> None:
    order = to.draw.permutation(len(to.tensors[of(at, "up")]))
    for name in (of(at, "up"), of(at, "up", "bias")):
        to.tensors[name] = to.tensors[name][order]
    to.tensors[of(at, "down")] = to.tensors[of(at, "down")][:, order]


@kind("harmless", "heads permuted, q, k, v and o alike", layers, harmless=True)
def _heads(to: Patient, at: str) -> None:
    width = len(to.tensors[of(at, "q")])
    order = np.roll(np.arange(width).reshape(to.subject.heads, -1), 1, 0).reshape(-1)
    for role in ("q", "k", "v"):
        for which in ("weight", "bias"):
            to.tensors[of(at, role, which)] = to.tensors[of(at, role, which)][order]
    to.tensors[of(at, "o")] = to.tensors[of(at, "o")][:, order]


@kind("harmless", "k's bias changed", weights_of("k", which="bias"), harmless=True)
def _k_bias(to: Patient, at: str) -> None:
    to.tensors[at] = to.tensors[at] + 0.1


def _traded(to: Patient, at: str, grown: str, shrunk: str) -> None:
    """One role grows fourfold, bias and all, and another shrinks as much."""
    for which in ("weight", "bias"):
        _times(to, of(at, grown, which), 4.0)
    _times(to, of(at, shrunk), 0.25)


@kind("harmless", "q times 4, k over 4", layers, harmless=True)
def _q_for_k(to: Patient, at: str) -> None:
    _traded(to, at, "q", "k")
    _times(to, of(at, "k", "bias"), 0.25)


@kind("harmless", "v times 4, o over 4", layers, harmless=True)
def _v_for_o(to: Patient, at: str) -> None:
    _traded(to, at, "v", "o")


@kind("harmless", "up times 4, down over 4", layers, harmless=True)
def _up_for_down(to: Patient, at: str) -> None:
    _traded(to, at, "up", "down")  # ReLU lets positive factors through
