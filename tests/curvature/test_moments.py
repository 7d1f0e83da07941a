"""Trace, norm, diagonal and effective rank from products, against those of matrices that are known."""

from __future__ import annotations

import math

import pytest
import torch
from matrices import dense, rotated
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.curvature import Operator, diagonal, effective_rank, frobenius, hessian, trace
from walkers_dist.landscape import build

CPU = torch.device("cpu")


def multiple(d: Tensor) -> Operator:
    return Operator(lambda V: d.double() * V, len(d), torch.float64, CPU)


SPECTRA = {
    "outliers": torch.cat([torch.linspace(-1e-3, 2e-3, 291), torch.linspace(1, 5, 9)]).double(),
    "line": torch.linspace(-1, 3, 250, dtype=torch.float64),
    "few": torch.tensor([-1.0, 0.0, 2.0]).repeat(60).double(),
}


def assert_all_within_errors(H: Operator, A: Tensor, seed: int) -> None:
    square = A.square().sum()
    for figure, exact in (
        (trace(H, 60, seed=seed), A.trace()),
        (frobenius(H, 60, seed=seed), square.sqrt()),
        (effective_rank(H, 120, seed=seed), A.trace() ** 2 / square),
    ):
        assert abs(figure.value - float(exact)) <= 4.5 * figure.error + 1e-9 * float(exact)
    mean, error = diagonal(H, 60, seed=seed)
    assert ((mean - A.diagonal()).abs() <= 5 * error + 1e-15).double().mean() > 0.99


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", SPECTRA)
def test_all_lie_within_their_errors(name: str, seed: int) -> None:
    A = rotated(SPECTRA[name], seed)
    assert_all_within_errors(dense(A), A, seed)


def test_a_digits_network() -> None:
    keys = {"data": {"name": "digits", "train_size": 50, "test_size": 10}, "model": {"name": "mlp", "hidden": [6]}}
    landscape = build(parse({"dynamics": {"name": "gd"}, "landscape": keys}, "x").landscape, dtype=torch.float64)
    H = hessian(landscape, landscape.start("w0"))
    for seed in range(3):
        assert_all_within_errors(H, H.dense(), seed)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("measure", "exact"),
    [
        (lambda H, seed: trace(H, 30, seed=seed), float(SPECTRA["line"].sum())),
        (lambda H, seed: frobenius(H, 20, seed=seed), float(SPECTRA["line"].norm())),
        (
            lambda H, seed: effective_rank(H, 60, seed=seed),
            float(SPECTRA["line"].sum() ** 2 / SPECTRA["line"].norm() ** 2),
        ),
    ],
    ids=["trace", "frobenius", "effective_rank"],
)
def test_errors_are_as_large_as_they_are(measure, exact: float) -> None:
    """Over 40 seeds, deviations in units of the standard error have a standard deviation of about one."""
    H = dense(rotated(SPECTRA["line"]))
    found = [measure(H, seed) for seed in range(40)]
    z = torch.tensor([(figure.value - exact) / figure.error for figure in found])
    assert 0.7 < float(z.std()) < 1.6 and float(z.mean().abs()) < 0.6


def test_the_trace_of_a_matrix_of_low_rank_is_exact() -> None:
    values = torch.cat([torch.zeros(200), torch.tensor([1.0, -2.0, 5.0])]).double()
    found = trace(dense(rotated(values)), 18)
    assert found.value == pytest.approx(4, abs=1e-12) and found.error < 1e-12


def test_the_sketch_takes_what_hutchinson_cannot() -> None:
    """One eigenvalue of 100 beside a small bulk: the error is that of the bulk, not of the outlier."""
    values = torch.cat([1e-3 * torch.ones(299), torch.tensor([100.0])]).double()
    values[::2] *= -1
    values[-1] = 100
    assert trace(dense(rotated(values)), 30).error < 0.1


@pytest.mark.parametrize("d", [torch.ones(50), torch.zeros(50), torch.full((1,), 3.0), torch.linspace(-1, 2, 40)])
def test_diagonal_matrices(d: Tensor) -> None:
    """The diagonal is exact from a single probe's signs, and with it the norm; the trace where the sketch is all."""
    H, d = multiple(d), d.double()
    mean, error = diagonal(H, 2)
    torch.testing.assert_close(mean, d, rtol=1e-15, atol=0)
    assert not error.any()
    norm = frobenius(H, 2)
    assert norm.value == pytest.approx(float(d.norm())) and norm.error < 1e-12
    whole = trace(H, 3 * len(d) + 6)
    assert whole.value == pytest.approx(float(d.sum()), abs=1e-12) and whole.error == 0
    square = float(d.square().sum())
    expected = float(d.sum()) ** 2 / square if square else 0
    rank = effective_rank(H, 6 * len(d) + 12)
    assert rank.value == pytest.approx(expected, abs=1e-12) and rank.error < 1e-12


def test_the_trace_of_the_identity_is_exact_from_few_products() -> None:
    found = trace(multiple(torch.ones(500)), 30)
    assert abs(found.value - 500) <= 4.5 * found.error + 1e-9


@pytest.mark.parametrize("measure", [trace, frobenius, diagonal, effective_rank])
def test_the_same_seed_gives_the_same_and_chunks_change_nothing(measure, monkeypatch: pytest.MonkeyPatch) -> None:
    from walkers_dist.curvature.full import CHUNK

    def figures(seed: int) -> Tensor:
        found = measure(dense(rotated(SPECTRA["line"])), 30, seed=seed)
        both = found if isinstance(found, tuple) else (found.value, found.error)
        return torch.stack([torch.as_tensor(figure, dtype=torch.float64) for figure in both])

    first = figures(1)
    assert torch.equal(figures(1), first)
    assert not torch.allclose(figures(2), first)
    monkeypatch.setitem(CHUNK, "cpu", 4)
    torch.testing.assert_close(figures(1), first, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("measure", [trace, frobenius, diagonal, effective_rank])
def test_not_finite_and_too_few_are_refused(measure) -> None:
    H = multiple(torch.tensor([1.0, math.nan, 2.0]))
    with pytest.raises(UserError, match="a product of the matrix is not finite"):
        measure(H)
    with pytest.raises(UserError, match=r"= [01]: must be at least [26]"):
        measure(H, 1)
