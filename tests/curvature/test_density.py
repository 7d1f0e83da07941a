"""Stochastic Lanczos quadrature, against dense answers on matrices of known spectrum."""

from __future__ import annotations

import math

import pytest
import torch
from matrices import dense, rotated
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.curvature import Density, Operator, density, gauss_newton, hessian
from walkers_dist.curvature.density import probe_vectors
from walkers_dist.curvature.full import CHUNK
from walkers_dist.landscape import build


def like_a_trained_network(n: int = 300) -> Tensor:
    bulk = 1e-3 * torch.randn(n - 14, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return torch.cat([-0.05 * torch.linspace(1, 2, 5), bulk, torch.linspace(1, 5, 9)]).double()


SPECTRA = {
    "outliers": like_a_trained_network(),
    "line": torch.linspace(-1, 3, 250, dtype=torch.float64),
    "few": torch.tensor([-1.0, 0.0, 2.0]).repeat(60).double(),
}


def assert_moments(found: Density, values: Tensor, rounding: float = 1e-12) -> None:
    """The first four, within four standard errors of 20 probes or more."""
    mean, error = found.moments(4)
    exact = torch.stack([(values**k).mean() for k in (1, 2, 3, 4)])
    size = torch.stack([(values.abs() ** k).mean() for k in (1, 2, 3, 4)])
    assert ((mean - exact).abs() <= 4 * error + rounding * size).all()


@pytest.mark.parametrize("reorthogonalize", [False, True])
@pytest.mark.parametrize("name", SPECTRA)
def test_moments_lie_within_their_errors(name: str, reorthogonalize: bool) -> None:
    found = density(dense(rotated(SPECTRA[name])), probes=30, steps=40, reorthogonalize=reorthogonalize)
    torch.testing.assert_close(found.weights.sum(1), torch.ones(30, dtype=torch.float64), rtol=0, atol=1e-12)
    assert_moments(found, SPECTRA[name])


def test_errors_are_as_large_as_they_are() -> None:
    """Over 40 seeds, deviations in units of the standard error have a standard deviation of about one."""
    values = SPECTRA["line"]
    H, exact = dense(rotated(values)), torch.stack([values.mean(), values.square().mean()])
    found = [density(H, probes=20, steps=10, seed=seed).moments(2) for seed in range(40)]
    z = torch.stack([(mean - exact) / error for mean, error in found])
    assert 0.7 < float(z.std()) < 1.4 and float(z.mean().abs()) < 0.5


@pytest.mark.parametrize("matrix", [hessian, gauss_newton])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_digits_network(matrix, dtype: torch.dtype) -> None:
    keys = {"data": {"name": "digits", "train_size": 50, "test_size": 10}, "model": {"name": "mlp", "hidden": [6]}}
    config = parse({"dynamics": {"name": "gd"}, "landscape": keys}, "x").landscape
    exact, landscape = build(config, dtype=torch.float64), build(config, dtype=dtype)
    theta = landscape.start("w0")
    values = torch.linalg.eigvalsh(matrix(exact, theta.double()).dense())
    assert_moments(density(matrix(landscape, theta), probes=20, steps=60), values, 20 * torch.finfo(dtype).eps)


def test_a_probe_alone_gives_its_own_quadrature() -> None:
    """v' H^k v to rounding, for all k that m nodes can hold: the very property of Gauss quadrature."""
    A = rotated(SPECTRA["line"])
    v = probe_vectors(dense(A), range(1), 7, "density")[0] / 250**0.5
    found = density(dense(A), probes=1, steps=5, seed=7)
    power = v.clone()
    for k in range(1, 11):
        power = A @ power
        quadrature = float((found.nodes**k * found.weights).sum())
        if k < 10:
            assert quadrature == pytest.approx(float(v @ power), rel=1e-10, abs=1e-12)
    assert quadrature != pytest.approx(float(v @ power), rel=1e-6)  # degree 2 m is beyond it
    assert found.moments(1)[1].isnan().all()


def test_as_many_steps_as_distinct_eigenvalues_are_exact() -> None:
    """The space ends after three steps; each eigenvalue weighs what the probe has of it, and the rest nothing."""
    A = rotated(SPECTRA["few"])
    found = density(dense(A), probes=4, steps=20)
    assert found.nodes.shape == (4, 20)
    values, Q = torch.linalg.eigh(A)
    for k, (nodes, weights) in enumerate(zip(found.nodes, found.weights, strict=True)):
        heavy = weights > 1e-9
        torch.testing.assert_close(nodes[heavy], values[[0, 60, 120]].round(), rtol=0, atol=1e-12)
        v = probe_vectors(dense(A), range(k, k + 1), 0, "density")[0] / 180**0.5
        torch.testing.assert_close(weights[heavy], (v @ Q).square().view(3, 60).sum(1), rtol=0, atol=1e-12)
        assert nodes.min() >= -1 - 1e-12 and nodes.max() <= 2 + 1e-12
    assert found.residuals.max() < 1e-12


@pytest.mark.parametrize("d", [torch.ones(50), torch.zeros(50), torch.full((50,), -2.0), torch.full((1,), 3.0)])
def test_multiples_of_the_identity_and_one_number(d: Tensor) -> None:
    found = density(Operator(lambda V: d.double() * V, len(d), torch.float64, torch.device("cpu")), probes=3, steps=10)
    assert found.nodes.shape == (3, min(10, len(d)))
    torch.testing.assert_close(found.nodes, torch.full_like(found.nodes, float(d[0])), rtol=1e-12, atol=0)
    mean, error = found.moments(2)
    torch.testing.assert_close(mean, torch.stack([d[0].double(), d[0].double() ** 2]), rtol=1e-12, atol=1e-12)
    assert float(error.max()) < 1e-12


def test_no_more_products_than_the_probes_need() -> None:
    made: list[int] = []
    H = Operator(lambda V: made.append(len(V)) or 2 * V, 50, torch.float64, torch.device("cpu"))  # type: ignore[func-returns-value]
    density(H, probes=3, steps=10)
    assert made == [3]


def test_all_steps_of_a_small_matrix_are_its_spectrum() -> None:
    """Reorthogonalised, and asked for more steps than there are parameters."""
    values = torch.linspace(-1, 3, 30, dtype=torch.float64)
    found = density(dense(rotated(values)), probes=3, steps=50, reorthogonalize=True)
    torch.testing.assert_close(found.nodes, values.expand(3, 30), rtol=0, atol=1e-10)


def test_copies_share_the_weight_of_an_eigenvalue() -> None:
    """Without reorthogonalisation the outlier appears again, and all of them together weigh what it weighs."""
    values = torch.cat([torch.linspace(0, 1, 199), torch.tensor([50.0])]).double()
    H = dense(rotated(values))
    plain, orthogonal = (density(H, probes=3, steps=80, reorthogonalize=r) for r in (False, True))
    assert ((plain.nodes > 49).sum(1) > 1).all() and ((orthogonal.nodes > 49).sum(1) == 1).all()
    weighed = [((found.nodes > 49) * found.weights).sum(1) for found in (plain, orthogonal)]
    torch.testing.assert_close(*weighed, rtol=1e-10, atol=0)


def test_an_eigenvalue_lies_within_each_residual() -> None:
    values = SPECTRA["line"]
    found = density(dense(rotated(values)), probes=3, steps=40, reorthogonalize=True)
    distance = (found.nodes[..., None] - values).abs().amin(-1)
    assert (distance <= found.residuals).all()
    assert found.residuals[:, -1].max() < 0.1


def test_probes_do_not_depend_on_how_many_there_are_nor_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    H = dense(rotated(SPECTRA["line"]))
    many, few, other = (density(H, probes=n, steps=20, seed=s) for n, s in [(5, 1), (2, 1), (2, 2)])
    torch.testing.assert_close(many.nodes[:2], few.nodes, rtol=0, atol=1e-10)
    assert not torch.allclose(other.nodes, few.nodes)
    assert torch.equal(density(H, probes=2, steps=20, seed=1).nodes, few.nodes)
    monkeypatch.setitem(CHUNK, "cpu", 2)
    told: list[tuple[int, int]] = []
    apart = density(H, probes=5, steps=20, seed=1, progress=lambda *at: told.append(at))
    torch.testing.assert_close(apart.nodes, many.nodes, rtol=0, atol=1e-10)
    torch.testing.assert_close(apart.weights, many.weights, rtol=0, atol=1e-10)
    assert told == [(k, 60) for k in range(1, 61)]


def test_smoothed_integrates_to_one_and_follows_the_spectrum() -> None:
    values = SPECTRA["outliers"]
    found = density(dense(rotated(values)), probes=30, steps=60)
    x = torch.linspace(-2, 7, 4001, dtype=torch.float64)
    mean, error = found.smoothed(x, 0.2)
    assert float(torch.trapezoid(mean, x)) == pytest.approx(1, abs=1e-6)
    exact = torch.exp(-(((x[:, None] - values) / 0.2) ** 2) / 2).mean(1) / (0.2 * math.sqrt(2 * math.pi))
    assert ((mean - exact).abs() <= 5 * error + 1e-6).all()


def test_smoothed_on_a_logarithmic_axis() -> None:
    """Values over eight decades, half of them negative, and zeros, which lie at minus infinity."""
    values = torch.cat([10.0 ** torch.arange(-6, 1), -(10.0 ** torch.arange(-6, 1)), torch.zeros(6)]).double()
    found = density(dense(values.diag()), probes=2, steps=20, reorthogonalize=True)
    x = torch.linspace(-8, 2, 4001, dtype=torch.float64)
    mean, _ = found.smoothed(x, 0.1, log=True)
    assert float(torch.trapezoid(mean, x)) == pytest.approx(14 / 20, abs=1e-6)
    decade = x.abs() < 0.5
    assert float(torch.trapezoid(mean[decade], x[decade])) == pytest.approx(2 / 20, abs=1e-6)
    with pytest.raises(UserError, match="sigma = 0: must be above 0"):
        found.smoothed(x, 0)


def test_not_finite_and_too_few_are_refused() -> None:
    d = torch.tensor([1.0, math.nan, 2.0], dtype=torch.float64)
    H = Operator(lambda V: d * V, 3, torch.float64, torch.device("cpu"))
    with pytest.raises(UserError, match="a product of the matrix is not finite"):
        density(H)
    for probes, steps in ((0, 100), (10, 0)):
        with pytest.raises(UserError, match=f"probes = {probes}, steps = {steps}: must be at least 1"):
            density(H, probes, steps)
