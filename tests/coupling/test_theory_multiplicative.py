"""Noise that multiplies: published digits, and the landscape itself, each coordinate a sample of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from walkers_dist.config.landscape import MultiplicativeConfig
from walkers_dist.coupling import theory_multiplicative as theory
from walkers_dist.landscape import build

SAMPLES = 400_000


@pytest.mark.parametrize(
    ("p", "largest", "rate"), [(1, "1.333333", ".666667"), (4, "2.666667", ".333333"), (16, "3.555556", ".111111")]
)
def test_minibatches(p: int, largest: str, rate: str, printed: Any) -> None:
    """A17."""
    assert theory.minibatch_largest_eta(0.5, 0.5, p) == printed(largest)
    assert theory.minibatch_best_rate(0.5, 0.5, p) == printed(rate)
    best = theory.minibatch_best_eta(0.5, 0.5, p)
    assert theory.minibatch_rate(2 * best, 0.5, 0.5, p) == pytest.approx(1, abs=1e-14)
    rates = [theory.minibatch_rate(eta, 0.5, 0.5, p) for eta in np.linspace(0, 2 * best, 201)]
    assert min(rates) == pytest.approx(theory.minibatch_best_rate(0.5, 0.5, p), abs=1e-14) == rates[100]


def test_minibatch_rate_is_that_of_the_landscape() -> None:
    """E x^2 after a step on the mean of the gradients of p = 4 walkers at one point."""
    landscape, names = build(MultiplicativeConfig(dim=SAMPLES), dtype="float64"), ["w0", "w1", "w2", "w3"]
    X = torch.stack([landscape.start(name) for name in names])
    x = X[0] - 0.9 * landscape.minibatches(names, 1)(X, 0).mean(0)
    assert float(x.square().mean()) == pytest.approx(theory.minibatch_rate(0.9, 0.5, 0.5, 4), rel=0.03)


@pytest.mark.parametrize(("eta", "radius"), [(0.5, "0.69948422"), (0.9, "0.64013986"), (1.5, "1.14867377")])
def test_radius_of_easgd(eta: float, radius: str, printed: Any) -> None:
    """A18."""
    assert theory.easgd_second_moment_radius(eta, 0.5, 0.5, 0.1, 4) == printed(radius)


def test_second_moments_of_the_program(printed: Any, program: Any, bowl: Any) -> None:
    """SPEC A.4.9: E c^2 after 8 steps of the real EASGD from x = c = 1 with u ~ Gamma(1/2, 1)."""
    predicted = np.linalg.matrix_power(theory.easgd_second_moments(0.5, 0.5, 0.5, 0.1, 4), 8) @ np.ones(4)
    assert predicted[3] == printed("0.10878")
    surface = {"kind": "multiplicative", "dim": SAMPLES, "curvature": 0.5, "variance": 0.5, "start": 1.0}
    coupling = {"name": "easgd", "alpha": 0.1, "period": 1}
    seen = program.here(bowl(coupling, lr=0.5, steps=8, every=8, walkers_per_process=4, **surface))
    x, c = seen.x[-1], seen.c[-1]
    xb = x.mean(0)
    measured = [(x**2).mean(), (xb**2).mean(), (xb * c).mean(), (c**2).mean()]
    assert measured == pytest.approx(predicted, rel=0.03)


@pytest.mark.parametrize("beta", [None, 0.7])
def test_second_moments_by_enumeration(beta: float | None) -> None:
    """u of two values, all 2^p draws of a step, from walkers and a center anywhere."""
    eta, ub, uv, alpha, p = 0.6, 0.5, 0.3, 0.15, 3
    x, c = np.array([1.0, -0.4, 2.0]), 0.6
    draws = ub + np.sqrt(uv) * np.stack(np.meshgrid(*[[-1, 1]] * p), -1).reshape(-1, p)
    moved = x - eta * draws * x - alpha * (x - c)
    center = c + (p * alpha if beta is None else beta) * (x.mean() - c)

    def moments(x: np.ndarray, c: float) -> list[float]:
        xb = x.mean(1)
        return [(x**2).mean(), (xb**2).mean(), (xb * c).mean(), c**2]

    after = theory.easgd_second_moments(eta, ub, uv, alpha, p, beta=beta) @ moments(x[None], c)
    np.testing.assert_allclose(after, moments(moved, center), rtol=1e-13)
