"""Density, moments and counts, against dense answers on matrices of known spectrum."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.curvature import Operator, counts, hessian, moments
from walkers_dist.curvature.density import density
from walkers_dist.landscape import build


def dense(A: Tensor) -> Operator:
    return Operator(lambda V: V @ A.T, len(A), A.dtype, A.device)


def rotated(eigenvalues: Tensor, seed: int = 0) -> Tensor:
    n = len(eigenvalues)
    Q, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    A = (Q * eigenvalues.double()) @ Q.T
    return (A + A.T) / 2


def like_a_trained_network(n: int = 300) -> Tensor:
    bulk = 1e-3 * torch.randn(n - 14, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return torch.cat([-0.05 * torch.linspace(1, 2, 5), bulk, torch.linspace(1, 5, 9)]).double()


SPECTRA = {
    "outliers": like_a_trained_network(),
    "line": torch.linspace(-1, 3, 250, dtype=torch.float64),
    "few": torch.tensor([-1.0, 0.0, 2.0]).repeat(60).double(),
}


@pytest.mark.parametrize("reorthogonalize", [False, True])
@pytest.mark.parametrize("name", SPECTRA)
def test_moments_lie_within_their_errors(name: str, reorthogonalize: bool) -> None:
    values = SPECTRA[name]
    found = density(dense(rotated(values)), probes=30, steps=40, reorthogonalize=reorthogonalize)
    torch.testing.assert_close(found.weights.sum(1), torch.ones(30, dtype=torch.float64), rtol=0, atol=1e-10)
    mean, error = found.moments(4)
    for k in range(4):
        exact = (values ** (k + 1)).mean()
        assert abs(mean[k] - exact) <= 4 * error[k] + 1e-12 * abs(exact), k


def test_a_digits_network() -> None:
    keys = {"data": {"name": "digits", "train_size": 50, "test_size": 10}, "model": {"name": "mlp", "hidden": [6]}}
    landscape = build(parse({"dynamics": {"name": "gd"}, "landscape": keys}, "x").landscape, dtype=torch.float64)
    H = hessian(landscape, landscape.start("w0"))
    values = torch.linalg.eigvalsh(H.dense())  # type: ignore[misc]
    mean, error = density(H, probes=20, steps=60).moments(4)
    exact = torch.stack([(values**k).mean() for k in (1, 2, 3, 4)])
    assert ((mean - exact).abs() <= 4 * error).all()
    tr = moments.trace(H)
    assert abs(tr.value - float(values.sum())) <= 4 * tr.error + 1e-12


def test_a_probe_alone_gives_its_own_quadrature() -> None:
    """v' H^k v to rounding, for all k that m nodes can hold: the very property of Gauss quadrature."""
    from walkers_dist.curvature.density import probe_vectors

    A = rotated(SPECTRA["line"])
    H = dense(A)
    v = probe_vectors(H, 1, 7)[0] / 250**0.5
    found = density(H, probes=1, steps=5, seed=7)
    power = v.clone()
    for k in range(1, 10):
        power = A @ power
        assert float((found.nodes**k * found.weights).sum()) == pytest.approx(float(v @ power), rel=1e-10, abs=1e-12)


def test_as_many_steps_as_distinct_eigenvalues_are_exact() -> None:
    found = density(dense(rotated(SPECTRA["few"])), probes=4, steps=20)
    for nodes, weights in zip(found.nodes, found.weights, strict=True):
        heavy = nodes[weights > 1e-9]
        torch.testing.assert_close(heavy, torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("d", [torch.ones(50), torch.zeros(50), torch.ones(1) * 3])
def test_identity_zero_and_one_number(d: Tensor) -> None:
    found = density(Operator(lambda V: d.double() * V, len(d), torch.float64, torch.device("cpu")), probes=3, steps=10)
    mean, _ = found.moments(2)
    torch.testing.assert_close(mean, torch.stack([d[0].double(), d[0].double() ** 2]), rtol=1e-12, atol=1e-12)


def test_probes_do_not_depend_on_each_other() -> None:
    H = dense(rotated(SPECTRA["line"]))
    many, few, other = (density(H, probes=n, steps=20, seed=s) for n, s in [(5, 1), (2, 1), (2, 2)])
    torch.testing.assert_close(many.nodes[:2], few.nodes, rtol=0, atol=1e-10)
    assert torch.equal(density(H, probes=2, steps=20, seed=1).nodes, few.nodes)
    assert not torch.allclose(other.nodes, few.nodes)


def test_smoothed_integrates_to_one_and_follows_the_spectrum() -> None:
    values = SPECTRA["outliers"]
    found = density(dense(rotated(values)), probes=30, steps=60)
    x = torch.linspace(-2, 7, 4001, dtype=torch.float64)
    mean, error = found.smoothed(x, 0.2)
    assert float(torch.trapezoid(mean, x)) == pytest.approx(1, abs=1e-6)
    exact = torch.exp(-(((x[:, None] - values) / 0.2) ** 2) / 2).mean(1) / (0.2 * math.sqrt(2 * math.pi))
    assert ((mean - exact).abs() <= 5 * error + 1e-6).all()


def test_not_finite_and_too_few_are_refused() -> None:
    d = torch.tensor([1.0, math.nan, 2.0], dtype=torch.float64)
    H = Operator(lambda V: d * V, 3, torch.float64, torch.device("cpu"))
    for measure in (density, moments.trace, moments.frobenius, moments.diagonal):
        with pytest.raises(UserError, match="is not finite"):
            measure(H)
    with pytest.raises(UserError, match="probes = 0, steps = 100: must be at least 1"):
        density(H, probes=0)


# ---- numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", SPECTRA)
def test_trace_norm_diagonal_and_rank_lie_within_their_errors(name: str, seed: int) -> None:
    A, values = rotated(SPECTRA[name], seed), SPECTRA[name]
    H = dense(A)
    for figure, exact in (
        (moments.trace(H, 60, seed=seed), values.sum()),
        (moments.frobenius(H, 60, seed=seed), values.norm()),
        (moments.effective_rank(H, 120, seed=seed), values.sum() ** 2 / values.norm() ** 2),
    ):
        assert abs(figure.value - float(exact)) <= 4.5 * figure.error + 1e-9
    mean, error = moments.diagonal(H, 60, seed=seed)
    assert ((mean - A.diagonal()).abs() <= 6 * error).double().mean() > 0.99


def test_the_trace_of_a_matrix_of_low_rank_is_exact() -> None:
    values = torch.cat([torch.zeros(200), torch.tensor([1.0, 2.0, 5.0])]).double()
    found = moments.trace(dense(rotated(values)), 18)
    assert found.value == pytest.approx(8, abs=1e-9) and found.error < 1e-9


def test_counts_by_hand() -> None:
    """SPEC D.2."""
    values = torch.tensor([-0.2, -0.005, 0.0, 0.004, 0.05, 0.3, 1.0], dtype=torch.float64)
    assert counts.outliers(values) == 2
    assert counts.bulk(values) == pytest.approx(3 / 7)
    assert counts.negative_ratio(values) == pytest.approx(0.2)
    assert counts.rank(values.clamp(min=0)) == 4


def test_counts_from_a_density() -> None:
    values = SPECTRA["outliers"]
    found = density(dense(rotated(values)), probes=40, steps=80)
    outer = counts.outliers_of_density(found, 5.0, len(values))
    assert abs(outer.value - counts.outliers(values)) <= 4 * outer.error
    bulk = counts.bulk_of_density(found, 5.0)
    assert abs(bulk.value - counts.bulk(values)) <= 4 * bulk.error + 1e-3


def test_counts_need_something_positive() -> None:
    with pytest.raises(UserError, match="relative to one above 0"):
        counts.outliers(-torch.ones(3))
    with pytest.raises(UserError, match="finite numbers"):
        counts.bulk(torch.tensor([1.0, math.nan]))
