"""EAMSGD and moving averages in closed form: published digits, walkers that follow the rule, and EASGD as a limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from walkers_dist.coupling import theory, theory_momentum


def eamsgd(
    x: np.ndarray, v: np.ndarray, c: np.ndarray, xi: np.ndarray, eta: float, h: float, delta: float, alpha: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Algorithm 2 of arXiv 1412.6651, all walkers at once: x, v, xi [R, p], c [R]; alpha = 0 without an exchange."""
    d = alpha * (x - c[:, None])
    v = delta * v - eta * (h * (x + delta * v) - xi)
    return x + v - d, v, c + d.sum(1)


def simulated(eta: float, alpha: float, p: int, delta: float, period: int) -> tuple[float, float]:
    """Monte Carlo over 4e5 states, just before a step with an exchange: Var c and Var xb."""
    random, R = np.random.default_rng(3), 20_000
    x, v, c = np.zeros((R, p)), np.zeros((R, p)), np.zeros(R)
    seen = []
    for t in range(200 + 20 * 40):
        if t >= 200 and t % 40 == 0:
            seen.append([(c**2).mean(), (x.mean(1) ** 2).mean()])
        xi = random.standard_normal((R, p))
        x, v, c = eamsgd(x, v, c, xi, eta, 1.0, delta, alpha if t % period == 0 else 0.0)
    center, mean = np.mean(seen, axis=0)
    return float(center), float(mean)


def turned(eta: float, h: float, alpha: float, p: int, delta: float, period: int) -> float:
    """The spectral radius of a period over all walkers, read off the rule by unit vectors."""

    def step(z: np.ndarray, alpha: float) -> np.ndarray:
        x, v, c = z[None, :p], z[None, p : 2 * p], z[2 * p :]
        return np.concatenate([part.ravel() for part in eamsgd(x, v, c, np.zeros((1, p)), eta, h, delta, alpha)])

    def matrix(alpha: float) -> np.ndarray:
        return np.column_stack([step(unit, alpha) for unit in np.eye(2 * p + 1)])

    turn = np.linalg.matrix_power(matrix(0.0), period - 1) @ matrix(alpha)
    return float(abs(np.linalg.eigvals(turn)).max())


def test_variance_of_eamsgd(printed: Any) -> None:
    """A15."""
    V = theory.stationary_covariance(*theory_momentum.momentum_cycle(0.01, 1, 0.2, 4, 0.9))
    assert V[2, 2] == printed("0.0090281263")
    assert simulated(0.01, 0.2, 4, 0.9, 1) == pytest.approx((V[2, 2], V[0, 0]), rel=0.03)


def test_variance_of_eamsgd_with_a_period() -> None:
    V = theory.stationary_covariance(*theory_momentum.momentum_cycle(0.05, 1, 0.1, 4, 0.8, period=5))
    assert simulated(0.05, 0.1, 4, 0.8, 5) == pytest.approx((V[2, 2], V[0, 0]), rel=0.03)


@pytest.mark.parametrize("period", [1, 4])
def test_without_momentum_it_is_easgd(period: int) -> None:
    keys = {"eta": 0.3, "h": 1.5, "alpha": 0.15, "p": 3, "beta": 0.6, "period": period}
    M, N = theory_momentum.momentum_cycle(delta=0.0, s2=0.7, **keys)  # type: ignore[arg-type]
    m, n = theory.cycle(s2=0.7, **keys)  # type: ignore[arg-type]
    np.testing.assert_allclose(M[np.ix_([0, 2], [0, 2])], m, atol=1e-15)
    np.testing.assert_allclose(N[np.ix_([0, 2], [0, 2])], n, atol=1e-15)
    growth = theory_momentum.momentum_radius(delta=0.0, **keys)  # type: ignore[arg-type]
    assert growth == pytest.approx(theory.radius(**keys), rel=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize(("eta", "alpha", "p", "delta"), [(0.1, 0.05, 4, 0.9), (1.5, 0.3, 2, 0.5), (0.9, 0.6, 1, 0.99)])
@pytest.mark.parametrize("period", [1, 5])
def test_radius(eta: float, alpha: float, p: int, delta: float, period: int) -> None:
    growth = theory_momentum.momentum_radius(eta, 1.2, alpha, p, delta, period=period)
    assert growth == pytest.approx(turned(eta, 1.2, alpha, p, delta, period), rel=1e-9)


def test_variance_of_a_moving_average(printed: Any) -> None:
    """A16, and that it is EASGD whose walker does not feel the center."""
    assert theory_momentum.moving_average_variance(0.1, 1, 0.1) == printed("0.0263886864")
    V = theory.stationary_covariance(*theory.cycle(0.3, 1.5, 0.0, 1, 0.7, beta=0.2))
    assert theory_momentum.moving_average_variance(0.3, 1.5, 0.2, 0.7) == pytest.approx(V[1, 1], rel=1e-12)
    random = np.random.default_rng(5)
    x, z, seen = np.zeros(20_000), np.zeros(20_000), []
    for t in range(100 + 20 * 40):
        x, z = x - 0.1 * (x - random.standard_normal(len(x))), 0.9 * z + 0.1 * x
        if t >= 100 and t % 40 == 0:
            seen.append((z**2).mean())
    assert np.mean(seen) == pytest.approx(0.0263886864, rel=0.03)
