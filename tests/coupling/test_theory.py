"""Closed forms against published digits, against the update rules as matrices, and against simulated walkers."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest

from walkers_dist.coupling import theory

Step = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def printed(digits: str) -> object:
    """A published number: half a unit of its last digit, at best 1e-8."""
    unit = 10.0 ** int(Decimal(digits).as_tuple().exponent)
    return pytest.approx(float(digits), rel=0, abs=max(unit / 2 * (1 + 1e-9), 1e-8))


# The update rules, one walker at a time: x [R, p], c [R], noise xi [R, p]


def plain(eta: float, h: float) -> Step:
    return lambda x, c, xi: (x - eta * (h * x - xi), c)


def simultaneous(eta: float, h: float, alpha: float) -> Step:
    def step(x: np.ndarray, c: np.ndarray, xi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        d = alpha * (x - c[:, None])
        return x - eta * (h * x - xi) - d, c + d.sum(1)

    return step


def center_last(eta: float, h: float, alpha: float) -> Step:
    def step(x: np.ndarray, c: np.ndarray, xi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = x - eta * (h * x - xi) - alpha * (x - c[:, None])
        return x, c + alpha * (x - c[:, None]).sum(1)

    return step


def gradient_first(eta: float, h: float, alpha: float) -> Step:
    def step(x: np.ndarray, c: np.ndarray, xi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = x - eta * (h * x - xi)
        d = alpha * (x - c[:, None])
        return x - d, c + d.sum(1)

    return step


def elementary(eta: float, h: float, alpha: float) -> Step:
    def step(x: np.ndarray, c: np.ndarray, xi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = x - eta * (h * x - xi)
        x = x - alpha * (x - c[:, None])
        return x, x.mean(1)

    return step


ORDERS = {"simultaneous": simultaneous, "center_last": center_last, "gradient_first": gradient_first}


def as_matrices(step: Step, p: int) -> tuple[np.ndarray, np.ndarray]:
    """(A, B) with (x, c)' = A (x, c) + B xi, read off the step by giving it unit vectors."""
    z, xi = np.eye(p + 1), np.eye(p)
    A = np.column_stack([np.append(*step(row[None, :p], row[None, p], np.zeros((1, p)))) for row in z])
    B = np.column_stack([np.append(*step(np.zeros((1, p)), np.zeros(1), row[None])) for row in xi])
    return A, B


def turn_radius(steps: list[Step], p: int) -> float:
    """The largest modulus of an eigenvalue of all `steps`, one after the other."""
    turn = np.eye(p + 1)
    for step in steps:
        turn = as_matrices(step, p)[0] @ turn
    return float(max(abs(np.linalg.eigvals(turn))))


def iterated_covariance(steps: list[Step], p: int, s2: float) -> np.ndarray:
    """Covariance [p+1, p+1] of (x, c) before the first of `steps`, after so many turns that it no longer changes."""
    maps, V = [as_matrices(step, p) for step in steps], np.zeros((p + 1, p + 1))
    for _ in range(3000):
        for A, B in maps:
            V = A @ V @ A.T + s2 * B @ B.T
    return V


def simulate(steps: list[Step], p: int, s2: float, *, replicas: int = 20_000, samples: int = 20) -> dict[str, float]:
    """Monte Carlo over replicas * samples states, seen before the first of `steps`: Var c, Var xb, Var(x^i - c)."""
    random = np.random.default_rng(7)
    x, c = np.zeros((replicas, p)), np.zeros(replicas)
    moments = []
    turns = -(-10 // len(steps))  # states that are kept lie at least 10 steps apart
    for sample in range(-6, samples):
        for _ in range(turns):
            for step in steps:
                x, c = step(x, c, np.sqrt(s2) * random.standard_normal(x.shape))
        if sample >= 0:
            moments.append([(c**2).mean(), (x.mean(1) ** 2).mean(), ((x - c[:, None]) ** 2).mean()])
    return dict(zip(("center", "mean", "spread"), np.mean(moments, axis=0), strict=True))


# Published values


@pytest.mark.parametrize(
    ("eta", "h", "alpha", "p", "s2", "variance"),
    [
        (0.1, 1, 0.05, 4, 1, "0.0076213947"),
        (0.5, 1, 0.2, 4, 1, "0.05844156"),
        (0.2, 2, 0.1, 8, 0.5, "0.0030256289"),
    ],
)
def test_center_variance(eta: float, h: float, alpha: float, p: int, s2: float, variance: str) -> None:
    assert theory.center_variance(eta, h, alpha, p, s2) == printed(variance)
    plus, minus = theory.eigenvalues(eta, h, alpha, p)
    both = plus * minus
    lemma = (p * alpha * eta) ** 2 * s2 / p * (1 + both) / ((1 - both) * (1 - plus**2) * (1 - minus**2))
    assert theory.center_variance(eta, h, alpha, p, s2) == pytest.approx(lemma, rel=1e-12)
    assert simulate([simultaneous(eta, h, alpha)], p, s2)["center"] == pytest.approx(float(variance), rel=0.03)


def test_eigenvalues() -> None:
    plus, minus = theory.eigenvalues(0.1, 1, 0.05, 4)
    assert plus == printed("0.928078") and minus == printed("0.721922")
    M, _ = theory.step_map(0.1, 1, 0.05, 4)
    assert sorted(np.linalg.eigvals(M)) == pytest.approx([minus, plus], abs=1e-14)


def test_many_walkers() -> None:
    assert theory.center_variance_limit(0.1, 1, 0.9) == printed("0.05158000")
    assert 10 * theory.center_variance(0.1, 1, 0.9 / 10, 10) == printed("0.04712042")
    assert 1000 * theory.center_variance(0.1, 1, 0.9 / 1000, 1000) == printed("0.05153087")
    assert theory.center_variance_limit(0.5, 2, 0.9) == printed("0.20454545")
    p = 10**7
    assert p * theory.center_variance(0.3, 2, 0.8 / p, p, 0.7) == pytest.approx(
        theory.center_variance_limit(0.3, 2, 0.8, 0.7), rel=1e-5
    )


@pytest.mark.parametrize(
    ("eta", "alpha", "x0", "c0", "t", "mean"),
    [
        (0.1, 0.05, 1, 1, 10, "0.6260474450"),
        (0.1, 0.05, 1, 0, 50, "0.0232300151"),
        (0.5, 0.2, 2, -1, 7, "0.0784000000"),
    ],
)
def test_center_mean(eta: float, alpha: float, x0: float, c0: float, t: int, mean: str) -> None:
    assert theory.center_mean(t, eta, 1, alpha, 4, x0=x0, c0=c0) == printed(mean)
    x, c, course = np.full((1, 4), float(x0)), np.array([float(c0)]), []
    for _ in range(t + 1):
        course.append(c[0])
        x, c = simultaneous(eta, 1, alpha)(x, c, np.zeros((1, 4)))
    assert theory.center_mean(np.arange(t + 1.0), eta, 1, alpha, 4, x0=x0, c0=c0) == pytest.approx(course, abs=1e-13)


@pytest.mark.parametrize(
    ("eta", "h", "p", "bound"),
    [(0.5, 1, 1, "0.857142857"), (0.5, 1, 4, "0.375"), (1, 1, 8, "0.2"), (1.5, 1, 4, "0.25")],
)
def test_largest_stable_alpha(eta: float, h: float, p: int, bound: str) -> None:
    alpha = theory.largest_stable_alpha(eta, h, p)
    assert alpha == printed(bound)
    for factor, stable in [(0.99, True), (1.01, False)]:
        assert (turn_radius([simultaneous(eta, h, factor * alpha)], p) < 1) is stable
        assert (theory.radius(eta, h, factor * alpha, p) < 1) is stable


def test_no_alpha_is_stable_beyond_twice_the_inverse_curvature() -> None:
    assert theory.largest_stable_alpha(2.0, 1, 4) == 0 == theory.largest_stable_alpha(3.0, 1, 4)
    assert all(theory.radius(2.1, 1, alpha, 4) > 1 for alpha in np.linspace(-0.99, 0.99, 199))


def test_elementary_variances() -> None:
    center, spread = "0.0104166667", "0.0099667774"
    assert theory.elementary_center_variance(0.1, 1, 0.2, 4) == printed(center)
    assert theory.elementary_spread(0.1, 1, 0.2, 4) == printed(spread)
    seen = simulate([elementary(0.1, 1, 0.2)], 4, 1.0)
    assert seen["center"] == pytest.approx(float(center), rel=0.03)
    assert seen["spread"] == pytest.approx(float(spread), rel=0.03)


@pytest.mark.parametrize(
    ("order", "period", "center", "mean"),
    [
        ("simultaneous", 1, "0.0076213947", None),
        ("center_last", 1, "0.0078592814", None),
        ("gradient_first", 1, "0.0077385077", "0.0110302610"),
        ("simultaneous", 10, "0.0025273800", "0.0129825979"),
    ],
)
def test_stationary_covariance(order: theory.Order, period: int, center: str, mean: str | None) -> None:
    V = theory.stationary_covariance(*theory.cycle(0.1, 1, 0.05, 4, order=order, period=period))
    assert V[1, 1] == printed(center)
    assert mean is None or V[0, 0] == printed(mean)
    seen = simulate([ORDERS[order](0.1, 1, 0.05)] + [plain(0.1, 1)] * (period - 1), 4, 1.0)
    assert seen["center"] == pytest.approx(V[1, 1], rel=0.03)
    assert seen["mean"] == pytest.approx(V[0, 0], rel=0.03)


def test_radius_of_a_period_of_ten() -> None:
    assert theory.radius(0.1, 1, 0.05, 4, period=10) == printed("0.8080917536")


# Against the update rules as matrices over all walkers


@pytest.mark.parametrize("period", [1, 3])
@pytest.mark.parametrize("order", ORDERS)
def test_plane_is_exact(order: theory.Order, period: int) -> None:
    eta, h, alpha, p, s2 = 0.3, 1.5, 0.15, 3, 0.7
    steps = [ORDERS[order](eta, h, alpha)] + [plain(eta, h)] * (period - 1)
    full = iterated_covariance(steps, p, s2)
    mean = np.append(np.full(p, 1 / p), 0.0)
    V = theory.stationary_covariance(*theory.cycle(eta, h, alpha, p, s2, order=order, period=period))
    expected = [[mean @ full @ mean, mean @ full[p]], [mean @ full[p], full[p, p]]]
    np.testing.assert_allclose(V, expected, rtol=1e-10)
    grown = theory.radius(eta, h, alpha, p, order=order, period=period)
    assert grown == pytest.approx(turn_radius(steps, p), rel=1e-10)


def test_elementary_is_exact() -> None:
    eta, h, alpha, p, s2 = 0.3, 1.5, 0.15, 3, 0.7
    full = iterated_covariance([elementary(eta, h, alpha)], p, s2)
    assert theory.elementary_center_variance(eta, h, alpha, p, s2) == pytest.approx(full[p, p], rel=1e-10)
    spread = full[0, 0] + full[p, p] - 2 * full[0, p]
    assert theory.elementary_spread(eta, h, alpha, p, s2) == pytest.approx(spread, rel=1e-10)


@pytest.mark.parametrize(("eta", "p", "period"), [(2.8, 4, 1), (2.8, 1, 1), (0.5, 4, 1), (1.4, 3, 3), (2.3, 2, 3)])
def test_elementary_smallest_alpha(eta: float, p: int, period: int) -> None:
    bound = theory.elementary_smallest_alpha(eta, 1, p, period)
    for alpha, stable in [(bound + 1e-3, True), (bound - 1e-3, False)]:
        steps = [plain(eta, 1)] * (period - 1) + [elementary(eta, 1, alpha)]
        assert (turn_radius(steps, p) < 1) is stable


def test_a_growing_map_has_no_stationary_state() -> None:
    with pytest.raises(ValueError, match="no stationary covariance"):
        theory.stationary_covariance(*theory.cycle(0.5, 1, 0.4, 4))


@pytest.mark.parametrize(("period", "factor"), [(4, "-0.3756"), (16, "-2.2587919245")])
def test_downpour_factor(period: int, factor: str) -> None:
    """A19."""
    assert theory.downpour_factor(0.1, 1, 4, period) == printed(factor)
    c = 1.0
    for _ in range(3):
        x = [c] * 4
        for _ in range(period):
            x = [xi - 0.1 * xi for xi in x]
        c += sum(xi - c for xi in x)
    assert theory.downpour_factor(0.1, 1, 4, period) ** 3 == pytest.approx(c, rel=1e-12)
