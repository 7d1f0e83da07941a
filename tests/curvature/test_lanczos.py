"""Thick-restart Lanczos: the relation that holds at every moment, and when a missed copy is excluded."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature import Operator
from walkers_dist.curvature.lanczos import GAP, LEFT, Lanczos, runs
from walkers_dist.curvature.search import DOUBT, EVERY, excluded, to_go

P = 120


def symmetric(dtype: torch.dtype = torch.float64) -> Tensor:
    A = torch.randn(P, P, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return (A + A.T) / 2


def begun(A: Tensor, basis: int = 30, v: Tensor | None = None) -> Lanczos:
    lanczos = Lanczos(Operator(lambda V: V @ A, len(A), A.dtype, A.device), basis, torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(3)
    lanczos.start(torch.randn(len(A), dtype=A.dtype, generator=generator) if v is None else v)
    return lanczos


def holds(L: Lanczos, A: Tensor) -> None:
    """H Q_D' = Q_D' T_DD + Q_O' T_OD with orthonormal rows; so what a pair leaves is its residual."""
    accuracy = 100 * L.eps
    Q, T = L.Q[: L.n].double(), L.T[: L.n, : L.n]
    A = A.double()
    torch.testing.assert_close(Q @ Q.T, torch.eye(L.n, dtype=torch.float64), rtol=0, atol=accuracy)
    torch.testing.assert_close(Q[L.done] @ A, T[L.done, :] @ Q, rtol=0, atol=accuracy * float(A.norm()))
    theta, S, left = L.ritz()
    V = L.vectors(S).double()
    residual = (V @ A - theta[:, None] * V).norm(dim=1)
    torch.testing.assert_close(residual, left.norm(dim=0), rtol=0, atol=accuracy * float(A.norm()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_relation_holds_at_every_moment(dtype: torch.dtype) -> None:
    A = symmetric(dtype)
    L = begun(A)
    for _ in range(15):
        L.step()
    holds(L, A)
    L.follow_random()
    for _ in range(5):
        L.step()
    assert L.waiting == 1
    holds(L, A)
    L.follow(0)
    for _ in range(2):
        L.step()
    holds(L, A)
    L.follow_random()
    L.step()
    assert L.waiting == 2 and not L.full
    holds(L, A)
    theta, S, left = L.ritz()
    kept = torch.tensor([0, 1, 2, -3, -2, -1])
    L.restart(theta[kept], S[:, kept], left[:, kept])
    assert L.n == 2 + 6 + 1
    torch.testing.assert_close(L.ritz()[0], theta[kept], rtol=0, atol=100 * L.eps)
    holds(L, A)
    while not L.full:
        L.step()
    holds(L, A)
    L.follow(1)
    theta, S, left = L.ritz()
    L.restart(theta[:4], S[:, :4], left[:, :4])
    for _ in range(6):
        L.step()
    holds(L, A)


def test_all_steps_give_all_eigenvalues() -> None:
    A = symmetric()
    L = begun(A, basis=P - 1)
    for _ in range(P - 1):
        L.step()
    inner, whole = L.ritz()[0], torch.linalg.eigvalsh(A)
    assert (whole[:-1] <= inner + 1e-10).all() and (inner <= whole[1:] + 1e-10).all()  # Cauchy
    torch.testing.assert_close(inner[[0, -1]], whole[[0, -1]])


def test_an_exhausted_space_goes_on_with_a_random_direction() -> None:
    A = torch.diag(torch.arange(P).double())
    L = begun(A, v=torch.eye(P, dtype=torch.float64)[7] * 3)
    L.step()
    assert L.n == 2 and L.T[0, 0] == 7 and L.T[0, 1] == L.T[1, 0] == 0
    holds(L, A)
    L.step()
    holds(L, A)


def test_a_product_that_returns_its_argument_does_no_harm() -> None:
    L = Lanczos(Operator(lambda V: V, P, torch.float64, torch.device("cpu")), 30, torch.Generator().manual_seed(0))
    L.start(torch.ones(P, dtype=torch.float64))
    for _ in range(5):
        L.step()
    holds(L, torch.eye(P, dtype=torch.float64))
    assert L.products == 5


def test_the_zero_matrix_has_zero_rows_of_t() -> None:
    L = begun(torch.zeros(P, P, dtype=torch.float64))
    for _ in range(4):
        L.step()
    assert not L.T.any()
    holds(L, torch.zeros(P, P))


def test_not_finite() -> None:
    A = symmetric()
    A[3, 3] = torch.inf
    with pytest.raises(UserError, match="not finite"):
        begun(A).step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_a_vector_keeps_of_the_others(dtype: torch.dtype) -> None:
    """Outliers that have long converged come back at every step, and are taken off; the rest is rounding."""
    d = torch.cat([torch.rand(1500, generator=torch.Generator().manual_seed(4)), torch.linspace(10, 90, 20)])
    L = begun(torch.diag(d.to(dtype)), basis=80)
    for _ in range(80):
        L.step()
    Q = L.Q.double()
    assert float((Q @ Q.T - torch.eye(L.n)).abs().max()) <= 10 * LEFT * L.eps
    w = torch.randn(len(d), dtype=dtype, generator=torch.Generator().manual_seed(5))
    h = L._take_off(w, float(w.norm()))
    assert float(h.norm()) > 0 and float((L.Q @ w).abs().max()) <= 2 * LEFT * L.eps * float(w.norm())


def test_rows_as_slices() -> None:
    assert runs([]) == [] and runs([3]) == [slice(3, 4)]
    assert runs([0, 1, 1 + GAP, 2 + 2 * GAP]) == [slice(0, 2 + GAP), slice(2 + 2 * GAP, 3 + 2 * GAP)]


def test_the_next_test_is_soon_where_little_is_missing() -> None:
    assert [to_go(excess) for excess in (0.5, 1.5, 10, 1e2, 1e9, math.inf)] == [1, 1, 5, 9, EVERY, EVERY]


# ---- the check for missed copies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_how_much_of_an_eigenvector_the_next_row_has(steps: int) -> None:
    """<q_{c+1}, x> = <r, x> prod_i (lambda - theta_i) / beta_i: what `excluded` rests on."""
    d = torch.cat([torch.linspace(0, 1, P - 1), torch.tensor([1.2])]).double()
    r = torch.randn(P, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    L = begun(torch.diag(d), v=r)
    for _ in range(steps):
        L.step()
    gap, beta = d[-1] - L.ritz()[0], L.T.diagonal(1)[:steps]
    has = r[-1] / r.norm() * (gap / beta).prod()
    torch.testing.assert_close(L.Q[L.n - 1, -1], has, rtol=1e-9, atol=0)


def test_excluded_at_the_bound() -> None:
    enough = math.sqrt(400) / DOUBT
    one = torch.ones(2, dtype=torch.float64)
    assert excluded(one * 1.001, torch.tensor([1.0, 1 / enough], dtype=torch.float64), 400)
    assert not excluded(one * 0.999, torch.tensor([1.0, 1 / enough], dtype=torch.float64), 400)
    assert not excluded(torch.tensor([-1e9, -1e9]), one, 400)  # values beyond the inner end exclude nothing
    assert excluded(one, 0 * one, 400)  # an invariant space has no part of anything else
    assert not excluded(0 * one, 0 * one, 400)  # the identity
