"""L-BFGS on the Rayleigh quotient, the original program's way (SPEC F 21), against Lanczos and dense solutions."""

from __future__ import annotations

import pytest
import torch
from matrices import diagonal

from walkers_dist import curvature
from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.curvature import extremes
from walkers_dist.landscape import build


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_lanczos_on_a_network(dtype: torch.dtype) -> None:
    """To 1e-4 of the largest, both ends: a perceptron on digits after 30 steps."""
    network = {"data": {"name": "digits", "train_size": 200}, "model": {"name": "mlp", "hidden": [8]}}
    landscape = build(parse({"landscape": network}, "small").landscape, seed=0, dtype=dtype)
    theta = landscape.start("w0")[None]
    for _ in range(30):
        theta = theta - 0.3 * landscape.grad(theta)
    H = curvature.hessian(landscape, theta[0])
    ours, check = extremes(H, 4, 3, vectors=True), extremes(H, 4, 3, method="rayleigh", vectors=True)
    largest = float(ours.eigenvalues.abs().max())
    assert ours.all_converged
    assert (check.eigenvalues - ours.eigenvalues).abs().max() <= 1e-4 * largest
    assert check.vectors is not None and ours.vectors is not None
    assert (check.vectors * ours.vectors).sum(1).min() > 0.99


def test_small_values_beside_large_ones_converge() -> None:
    """|v| grows in every step, and the gradient shrinks with it: one round of L-BFGS ends too early."""
    d = torch.cat([torch.tensor([-0.03, -0.02]), torch.zeros(300), torch.linspace(1, 5, 9)]).double()
    found = extremes(diagonal(d), 2, 2, method="rayleigh")
    assert found.all_converged
    torch.testing.assert_close(found.eigenvalues, torch.tensor([-0.03, -0.02, 4.5, 5.0]).double(), rtol=1e-6, atol=0)


def test_copies() -> None:
    d = torch.tensor([-1, -1, 0, 1, 2, 3, 3, 3]).double()
    d = torch.cat([d, torch.linspace(-0.5, 1, 200).double()])
    found = extremes(diagonal(d), 4, 3, method="rayleigh")
    torch.testing.assert_close(found.eigenvalues, torch.tensor([-1, -1, -0.5, 2, 3, 3, 3]).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("top", "bottom"), [(6, 0), (0, 6), (4, 4), (6, 6)])
def test_all_pairs_of_a_small_matrix_once(top: int, bottom: int) -> None:
    d = torch.tensor([-2, -1, 0.5, 1, 3, 4]).double()
    found = extremes(diagonal(d), top, bottom, method="rayleigh", vectors=True)
    torch.testing.assert_close(found.eigenvalues, d, atol=1e-6, rtol=0)
    assert found.vectors is not None
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(6).double(), atol=1e-5, rtol=0)


def test_the_zero_matrix_and_one_that_is_not_finite() -> None:
    found = extremes(diagonal(torch.zeros(9)), 2, 1, method="rayleigh")
    assert found.eigenvalues.tolist() == [0, 0, 0] and found.all_converged
    with pytest.raises(UserError, match="eigenvalues mean nothing"):
        extremes(diagonal(torch.tensor([1.0, torch.nan, 2])), 1, 1, method="rayleigh")
