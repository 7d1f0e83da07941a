"""Both ends of a spectrum, against dense solutions and known spectra."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.sparse import linalg
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature import Operator, extremes


def dense(A: Tensor) -> Operator:
    return Operator(lambda V: V @ A.T, len(A), A.dtype, A.device)


def diagonal(d: Tensor) -> Operator:
    return Operator(lambda V: d * V, len(d), d.dtype, d.device)


def rotated(eigenvalues: Tensor) -> Tensor:
    n = len(eigenvalues)
    Q, _ = torch.linalg.qr(torch.randn(n, n, dtype=eigenvalues.dtype, generator=torch.Generator().manual_seed(0)))
    A = (Q * eigenvalues) @ Q.T
    return (A + A.T) / 2


def like_a_trained_network(n: int = 400) -> Tensor:
    """Nine outliers, a bulk at zero, a few small negative ones."""
    bulk = 1e-4 * torch.randn(n - 14, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    negative = -0.01 * torch.linspace(1, 2, 5, dtype=torch.float64)
    return torch.cat([negative, bulk, torch.linspace(1, 5, 9, dtype=torch.float64)])


def ends(sorted_values: Tensor, top: int, bottom: int) -> Tensor:
    return torch.cat([sorted_values[:bottom], sorted_values[len(sorted_values) - top :]])


@pytest.mark.parametrize(("top", "bottom"), [(5, 3), (10, 5), (2, 6), (1, 1), (4, 0), (0, 4), (25, 3)])
@pytest.mark.parametrize("n", [90, 400])
def test_equals_the_dense_solution(n: int, top: int, bottom: int) -> None:
    A = rotated(like_a_trained_network(n)) + 0.02 * rotated(torch.linspace(-1, 1, n, dtype=torch.float64)).roll(3, 0)
    A = (A + A.T) / 2
    found = extremes(dense(A), top, bottom)
    expected = ends(torch.linalg.eigvalsh(A), top, bottom)
    torch.testing.assert_close(found.eigenvalues, expected, rtol=1e-6, atol=1e-8)
    assert found.converged and found.residuals.shape == (top + bottom,)
    assert (found.residuals <= 1e-4 * found.eigenvalues.abs().clamp(min=1e-3 * expected.abs().max())).all()


def test_quadratic_form() -> None:
    d = torch.linspace(-3, 8, 500, dtype=torch.float64)[torch.randperm(500, generator=torch.Generator().manual_seed(6))]
    found = extremes(diagonal(d), top=4, bottom=2, tol=1e-6)
    torch.testing.assert_close(found.eigenvalues, ends(d.sort().values, 4, 2), rtol=1e-9, atol=0)


def test_residuals_bound_the_error() -> None:
    d = torch.linspace(-1, 2, 800, dtype=torch.float64)
    found = extremes(diagonal(d), top=5, bottom=5, tol=1e-2)
    distance = (found.eigenvalues[:, None] - d).abs().min(dim=1).values
    assert found.residuals.max() > 1e-9  # a loose tolerance leaves something to bound
    assert (distance <= found.residuals + 1e-14).all()


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 60, 61])
def test_small_matrices(n: int) -> None:
    d = torch.linspace(-1, 5, n, dtype=torch.float64)
    found = extremes(diagonal(d), top=5, bottom=3)
    torch.testing.assert_close(found.eigenvalues, d if n <= 8 else ends(d, 5, 3), rtol=0, atol=1e-10)
    assert found.converged


def test_one_call_of_eigsh_for_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    original = linalg.eigsh

    def eigsh(A: object, k: int, **options: object) -> object:
        calls.append({"k": k, **options})
        return original(A, k, **options)

    monkeypatch.setattr(linalg, "eigsh", eigsh)
    products = 0
    d = like_a_trained_network(3000)

    def product(V: Tensor) -> Tensor:
        nonlocal products
        products += len(V)
        return d * V

    extremes(Operator(product, 3000, d.dtype, d.device), top=5, bottom=3)
    assert len(calls) == 1 and products < 300
    assert calls[0]["which"] == "BE" and calls[0]["k"] == 10 and calls[0]["ncv"] >= 60


def test_same_start_same_bits() -> None:
    A = dense(rotated(torch.linspace(-1, 1, 200, dtype=torch.float64)))
    v0 = torch.randn(200, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    first, again, seeded = extremes(A, 3, 3, v0=v0), extremes(A, 3, 3, v0=v0), extremes(A, 3, 3, seed=9)
    other = extremes(A, 3, 3, seed=10)
    assert torch.equal(first.eigenvalues, again.eigenvalues) and torch.equal(first.residuals, again.residuals)
    assert torch.equal(first.eigenvalues, seeded.eigenvalues)
    assert not torch.equal(first.residuals, other.residuals)


def test_same_bits_where_the_space_of_the_start_is_exhausted() -> None:
    """The start is an eigenvector: ARPACK goes on with a random vector of its own."""
    d = torch.linspace(-1, 1, 200, dtype=torch.float64)
    H, v0 = diagonal(d), torch.eye(200, dtype=torch.float64)[70]
    first, again, other = (extremes(H, 2, 2, seed=seed, v0=v0) for seed in (5, 5, 6))
    assert torch.equal(first.residuals, again.residuals) and torch.equal(first.eigenvalues, again.eigenvalues)
    assert not torch.equal(first.residuals, other.residuals)
    torch.testing.assert_close(first.eigenvalues, d[[0, 1, -2, -1]], rtol=1e-6, atol=0)


def test_copies_of_two_eigenvalues() -> None:
    found = extremes(dense(rotated(torch.tensor([1.0, 2.0], dtype=torch.float64).repeat(100))), 2, 2)
    torch.testing.assert_close(found.eigenvalues, torch.tensor([1, 1, 2, 2], dtype=torch.float64))
    assert found.converged


def test_zeros_at_an_end() -> None:
    d = torch.zeros(300, dtype=torch.float64)
    d[:6] = torch.arange(1, 7)
    found = extremes(diagonal(d), top=3, bottom=2)
    torch.testing.assert_close(
        found.eigenvalues, torch.tensor([0, 0, 4, 5, 6], dtype=torch.float64), rtol=0, atol=1e-12
    )
    assert found.converged
    flat = extremes(diagonal(torch.zeros(300, dtype=torch.float64)), top=3, bottom=2)
    assert flat.eigenvalues.tolist() == [0] * 5 and flat.converged


def test_what_is_not_found_is_nan_on_its_side() -> None:
    d = torch.logspace(0, -12, 500, dtype=torch.float64)  # no method separates the lower end of this
    found = extremes(diagonal(d), top=3, bottom=2)
    assert not found.converged
    torch.testing.assert_close(found.eigenvalues[2:], d[:3].flip(0), rtol=1e-6, atol=0)
    assert found.eigenvalues[:2].isnan().all() and found.residuals[:2].isnan().all()


def test_nothing_asked_nothing_done() -> None:
    def product(V: Tensor) -> Tensor:
        raise AssertionError("asked for a product")

    found = extremes(Operator(product, 500, torch.float64, torch.device("cpu")), top=0, bottom=0)
    assert found.eigenvalues.shape == found.residuals.shape == (0,)


@pytest.mark.parametrize("n", [20, 200])
def test_products_that_are_not_finite_are_refused(n: int) -> None:
    d = torch.ones(n, dtype=torch.float64)
    d[4] = torch.nan
    with pytest.raises(UserError, match="eigenvalues mean nothing"):
        extremes(diagonal(d), 3, 3)


def test_float32_stays_float32() -> None:
    found = extremes(diagonal(torch.linspace(1, 2, 300, dtype=torch.float32)), 2, 2)
    assert found.eigenvalues.dtype == torch.float32
    torch.testing.assert_close(found.eigenvalues[[0, 3]], torch.tensor([1.0, 2.0]), rtol=1e-5, atol=0)
