"""The parabola with noise that multiplies: its surface, and the law of its factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import gamma, kstest
from torch import Tensor

from walkers_dist.config.landscape import MultiplicativeConfig
from walkers_dist.landscape import build
from walkers_dist.landscape.multiplicative import Multiplicative


def made(seed: int = 0, dtype: str = "float64", **keys: Any) -> Multiplicative:
    landscape = build(MultiplicativeConfig.model_validate(keys), seed=seed, dtype=dtype)
    assert isinstance(landscape, Multiplicative)
    return landscape


def points(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_surface() -> None:
    landscape, theta = made(dim=3, curvature=0.8), points(2, 3)
    for row, loss, g in zip(theta.tolist(), landscape.loss(theta), landscape.grad(theta), strict=True):
        assert loss.item() == pytest.approx(sum(0.8 * x**2 / 2 for x in row), rel=1e-14)
        assert g.tolist() == pytest.approx([0.8 * x for x in row], rel=1e-14)
    torch.testing.assert_close(landscape.hvp(theta[0], theta), 0.8 * theta)


@pytest.mark.parametrize(("mean", "variance"), [(0.5, 0.5), (2.0, 0.3)])
def test_factors_are_gamma(mean: float, variance: float) -> None:
    landscape = made(dim=20_000, curvature=mean, variance=variance)
    X = points(2, 20_000)
    u = (landscape.minibatches(["w0", "w1"], 1)(X, 3) / X).numpy()
    law = gamma(mean**2 / variance, scale=variance / mean)
    assert kstest(u.ravel(), law.cdf).pvalue > 1e-3
    assert u.mean() == pytest.approx(mean, rel=0.03) and u.var() == pytest.approx(variance, rel=0.05)
    assert abs(np.corrcoef(u)[0, 1]) < 0.03  # walkers are independent


def test_factors_belong_to_seed_walker_and_step() -> None:
    landscape, X = made(dim=4), points(3, 4)
    together = landscape.minibatches(["w0", "w1", "w2"], 1)
    alone = landscape.minibatches(["w2"], 1)
    for t in (5, 0, 3):  # in any order, in any process
        assert torch.equal(alone(X[2:], t)[0], together(X, t)[2])
    assert not torch.equal(together(X, 0), together(X, 1))
    assert not torch.equal(made(seed=1, dim=4).minibatches(["w2"], 1)(X[2:], 0), alone(X[2:], 0))


def test_single_precision_has_the_same_factors() -> None:
    double = made(dim=4).minibatches(["w0"], 1)(torch.ones(1, 4, dtype=torch.float64), 3)
    single = made(dim=4, dtype="float32").minibatches(["w0"], 1)(torch.ones(1, 4), 3)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=1e-7)


def test_the_whole_data_and_no_variance_have_no_noise() -> None:
    X = points(2, 3)
    for landscape, batch in ((made(dim=3), None), (made(dim=3, variance=0.0), 1)):
        assert torch.equal(landscape.minibatches(["w0", "w1"], batch)(X, 4), landscape.grad(X))


def test_starts() -> None:
    landscape = made(dim=2, start=4.0, center_start=0.25)
    center = landscape.center_start()
    assert landscape.start("w7").tolist() == [4.0, 4.0] and center is not None and center.tolist() == [0.25, 0.25]
    assert made().center_start() is None
