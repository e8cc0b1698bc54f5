"""The closed forms against what they are said to minimise, by a solver that knows nothing of them."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from atlas.draws import rng
from atlas.ttt.editors.memit import null_basis, projected, spread
from atlas.ttt.editors.rome import exact

IN, OUT = 6, 3


def random(*shape: int, purpose: str = "") -> torch.Tensor:
    return torch.from_numpy(rng("solve", purpose, *shape).normal(size=shape))


def a_moment() -> torch.Tensor:
    """A second moment of 40 keys whose directions are used very unevenly."""
    keys = random(IN, 40, purpose="corpus") * torch.logspace(0, -2, IN, dtype=torch.float64)[:, None]
    return keys @ keys.T / 40


def least(objective, constraint=None) -> torch.Tensor:
    """The matrix that minimises an objective, under ``constraint(matrix) = 0``, by a generic solver."""

    def value(flat: np.ndarray) -> float:
        return float(objective(flat.reshape(OUT, IN)))

    def residual(flat: np.ndarray) -> np.ndarray:
        return np.ravel(constraint(flat.reshape(OUT, IN)))

    arguments: dict[str, Any] = {"method": "BFGS", "options": {"gtol": 1e-10, "maxiter": 2000}}
    if constraint:
        held = {"type": "eq", "fun": residual}
        arguments = {"method": "SLSQP", "options": {"ftol": 1e-15, "maxiter": 2000}, "constraints": held}
    return torch.from_numpy(minimize(value, np.zeros(OUT * IN), **arguments).x.reshape(OUT, IN))


def moved(update: np.ndarray, moment: torch.Tensor) -> float:
    return float(np.trace(update @ moment.numpy() @ update.T))


@pytest.mark.parametrize("keys", [1, 2, 4])
def test_rome_gives_keys_exactly_their_change_and_moves_the_corpus_least(keys):
    moment, k, change = a_moment(), random(IN, keys, purpose="keys"), random(OUT, keys, purpose="change")
    update = exact(moment, k, change)
    torch.testing.assert_close(update @ k, change, rtol=1e-10, atol=1e-10)
    found = least(lambda d: moved(d, moment), lambda d: d @ k.numpy() - change.numpy())
    torch.testing.assert_close(update, found, rtol=1e-4, atol=1e-4)
    assert moved(update.numpy(), moment) <= moved(found.numpy(), moment) * (1 + 1e-9)


def test_rome_for_one_key_is_the_paper_s_rank_one_update():
    moment, k, change = a_moment(), random(IN, 1, purpose="keys"), random(OUT, 1, purpose="change")
    direction = moment.inverse() @ k
    torch.testing.assert_close(exact(moment, k, change), change @ direction.T / (direction.T @ k), rtol=1e-9, atol=1e-9)


def test_the_published_rome_holds_another_key_in_the_same_direction():
    moment, mean, change = a_moment(), random(IN, 2, purpose="mean"), random(OUT, 2, purpose="change")
    alone = mean + 0.1 * random(IN, 2, purpose="shift")
    update = exact(moment, mean, change, held=alone)
    torch.testing.assert_close(update @ alone, change, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(update @ mean, change, rtol=1e-3)
    rows = torch.linalg.lstsq((moment.inverse() @ mean), update.T).solution  # nothing outside these two directions
    torch.testing.assert_close(moment.inverse() @ mean @ rows, update.T, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(exact(moment, mean, change, held=mean), exact(moment, mean, change))


@pytest.mark.parametrize("keys", [1, 3, 9])
def test_memit_is_the_least_compromise_between_corpus_and_keys(keys):
    prior, k, change = 5 * a_moment(), random(IN, keys, purpose="keys"), random(OUT, keys, purpose="change")
    found = least(lambda d: moved(d, prior) + float(np.square(d @ k.numpy() - change.numpy()).sum()))
    torch.testing.assert_close(spread(prior, k, change), found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weight", [1e-3, 1.0, 100.0])
def test_memit_of_one_key_is_rome_up_to_its_regulariser(weight):
    moment, k, change = a_moment(), random(IN, 1, purpose="keys"), random(OUT, 1, purpose="change")
    certainty = (k.T @ moment.inverse() @ k).item()
    shrunk = exact(moment, k, change) * certainty / (weight + certainty)
    torch.testing.assert_close(spread(weight * moment, k, change), shrunk, rtol=1e-8, atol=1e-10)


def test_keys_that_depend_on_each_other_have_no_exact_update():
    k = random(IN, 1, purpose="keys").expand(IN, 2)
    assert exact(a_moment(), k, random(OUT, 2, purpose="change")).isnan().all()


def test_no_key_is_no_update():
    nothing = torch.zeros(IN, 0, dtype=torch.float64), torch.zeros(OUT, 0, dtype=torch.float64)
    basis = null_basis(a_moment(), 0.1)
    assert not spread(a_moment(), *nothing).any()
    assert not projected(basis, torch.eye(IN, dtype=torch.float64), *nothing).any()


@pytest.mark.parametrize("share", [1e-6, 0.01, 0.1, 0.9])
def test_the_null_basis_holds_at_most_its_share_and_one_direction_more_would_hold_more(share):
    moment = a_moment()
    basis = null_basis(moment, share)
    count = basis.shape[1]
    torch.testing.assert_close(basis.T @ basis, torch.eye(count, dtype=torch.float64))
    held = torch.trace(basis.T @ moment @ basis) / torch.trace(moment)
    assert held <= share
    values = torch.linalg.eigvalsh(moment)
    assert values[: count + 1].sum() / values.sum() > share


def test_alphaedit_leaves_keys_outside_its_basis_alone():
    moment, k, change = a_moment(), random(IN, 2, purpose="keys"), random(OUT, 2, purpose="change")
    basis = null_basis(moment, 0.05)
    assert 0 < basis.shape[1] < IN
    update = projected(basis, 0.1 * torch.eye(IN, dtype=torch.float64), k, change)
    preserved = torch.linalg.eigh(moment).eigenvectors[:, basis.shape[1] :] @ random(IN - basis.shape[1], 5)
    assert update.abs().max() > 0.01
    torch.testing.assert_close(update @ preserved, torch.zeros(OUT, 5, dtype=torch.float64), rtol=0, atol=1e-12)


def test_alphaedit_is_the_least_update_among_those_in_its_basis():
    k, change, before = random(IN, 2, purpose="keys"), random(OUT, 2, purpose="change"), random(IN, 3, purpose="before")
    basis = null_basis(a_moment(), 0.05)
    prior = before @ before.T + 0.5 * torch.eye(IN, dtype=torch.float64)
    p = (basis @ basis.T).numpy()
    found = least(lambda d: moved(d @ p, prior) + float(np.square(d @ p @ k.numpy() - change.numpy()).sum()))
    torch.testing.assert_close(projected(basis, prior, k, change).numpy(), found.numpy() @ p, rtol=1e-4, atol=1e-5)


def test_alphaedit_is_the_paper_s_formula():
    k, change, before = random(IN, 2, purpose="keys"), random(OUT, 2, purpose="change"), random(IN, 3, purpose="before")
    basis, eye = null_basis(a_moment(), 0.05), torch.eye(IN, dtype=torch.float64)
    p = basis @ basis.T
    paper = change @ k.T @ p @ torch.linalg.inv(before @ before.T @ p + k @ k.T @ p + 0.5 * eye)
    torch.testing.assert_close(projected(basis, before @ before.T + 0.5 * eye, k, change), paper, rtol=1e-9, atol=1e-9)
