"""The quadratic bowl against sums over coordinates, and the statistics of its noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor

from walkers_dist.config.landscape import QuadraticConfig
from walkers_dist.landscape import build
from walkers_dist.landscape.quadratic import Quadratic

NUMBERS = st.floats(-5, 5)


def made(seed: int = 0, dtype: str = "float64", **keys: Any) -> Quadratic:
    landscape = build(QuadraticConfig.model_validate(keys), seed=seed, dtype=dtype)
    assert isinstance(landscape, Quadratic)
    return landscape


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_loss_gradient_and_hessian(draw: st.DataObject) -> None:
    dim, walkers = draw.draw(st.integers(1, 4), "dim"), draw.draw(st.integers(1, 4), "walkers")
    h = draw.draw(st.lists(NUMBERS, min_size=dim, max_size=dim), "curvature")
    m = draw.draw(st.lists(NUMBERS, min_size=walkers, max_size=walkers), "optima")
    landscape = made(dim=dim, curvature=h, optima=m)
    theta = normal(3, dim)

    def value(point: list[float], optimum: float) -> float:
        return sum(hj * (x - optimum) ** 2 / 2 for hj, x in zip(h, point, strict=True))

    def gradient(point: list[float], optimum: float) -> list[float]:
        return [hj * (x - optimum) for hj, x in zip(h, point, strict=True)]

    names = [f"w{i}" for i in draw.draw(st.lists(st.integers(0, walkers - 1), min_size=3, max_size=3), "rows")]
    optima = [m[int(name[1:])] for name in names]
    for k, point in enumerate(theta.tolist()):
        assert landscape.loss(theta, walkers=names)[k].item() == pytest.approx(value(point, optima[k]), abs=1e-12)
        assert landscape.grad(theta, walkers=names)[k].tolist() == pytest.approx(gradient(point, optima[k]), abs=1e-12)
        common = sum(value(point, optimum) for optimum in m) / walkers
        assert landscape.loss(theta)[k].item() == pytest.approx(common, abs=1e-12)
        columns = zip(*(gradient(point, optimum) for optimum in m), strict=True)
        assert landscape.grad(theta)[k].tolist() == pytest.approx([sum(c) / walkers for c in columns], abs=1e-12)
    for split_by in (names, None):
        sums = landscape.sums(theta, walkers=split_by)
        torch.testing.assert_close(sums[:, :dim], landscape.grad(theta, walkers=split_by), rtol=0, atol=1e-12)
        torch.testing.assert_close(sums[:, -3], landscape.loss(theta, walkers=split_by), rtol=0, atol=1e-12)
    V = normal(2, dim, seed=1)
    torch.testing.assert_close(landscape.hvp(theta[0], V), V @ torch.diag(torch.tensor(h).double()))


def test_one_number_stands_for_all() -> None:
    one, each = made(dim=3, curvature=2.0, optima=1.5), made(dim=3, curvature=[2.0] * 3, optima=[1.5] * 4)
    theta = normal(2, 3)
    for walkers in (None, ["w1", "w3"]):
        assert torch.equal(one.loss(theta, walkers=walkers), each.loss(theta, walkers=walkers))
        torch.testing.assert_close(one.grad(theta, walkers=walkers), each.grad(theta, walkers=walkers))


def test_starts() -> None:
    landscape = made(dim=2, start=[0.5, -1.0, 3.0], center_start=0.25)
    assert [landscape.start(name).tolist() for name in ("w0", "w2")] == [[0.5, 0.5], [3.0, 3.0]]
    center = landscape.center_start()
    assert center is not None and center.tolist() == [0.25, 0.25]
    assert made(dim=2, start=4.0).start("w7").tolist() == [4.0, 4.0] and made().center_start() is None
    assert made(dtype="float32").start("w0").dtype == torch.float32


# ---- noise -------------------------------------------------------------------------------------------------------


def noise_of(landscape: Quadratic, walkers: list[str], steps: int) -> np.ndarray:
    """What the stochastic gradients have beside the gradient: [steps, walkers, dim]."""
    X = normal(len(walkers), landscape.size)
    minibatch, exact = landscape.minibatches(walkers, 1), landscape.grad(X, walkers=walkers)
    return torch.stack([minibatch(X, t).clone() - exact for t in range(steps)]).numpy()


def test_noise_is_normal_with_the_given_deviation() -> None:
    noise = noise_of(made(dim=20, noise=0.3, optima=[0.0, 1.0, 2.0]), ["w0", "w1", "w2"], 200)
    assert kstest(noise.ravel(), "norm", (0, 0.3)).pvalue > 1e-3
    assert kstest(noise.ravel(), "norm", (0, 0.33)).pvalue < 1e-4  # a tenth more would be seen


def test_noise_is_independent_between_walkers_steps_and_coordinates() -> None:
    noise = noise_of(made(dim=8, noise=1.0), ["w0", "w1", "w10"], 500)
    series = noise.reshape(500, -1)
    correlation = np.corrcoef(np.hstack([series[:-1], series[1:]]).T) - np.eye(48)
    assert abs(correlation).max() < 5 / math.sqrt(500)
    assert len(np.unique(noise)) == noise.size


def test_noise_belongs_to_seed_walker_and_step() -> None:
    landscape = made(dim=4, noise=0.5)
    all_of_them = noise_of(landscape, ["w0", "w1", "w2"], 6)
    X = normal(3, 4)
    alone = landscape.minibatches(["w2"], 1)
    for t in (5, 0, 3):  # in any order, in any process
        g = alone(X[2:], t) - landscape.grad(X[2:], walkers=["w2"])
        np.testing.assert_allclose(g[0].numpy(), all_of_them[t, 2], atol=1e-14)
    assert not np.allclose(noise_of(made(seed=1, dim=4, noise=0.5), ["w0"], 1), all_of_them[0, 0])


def test_single_precision_has_the_same_noise() -> None:
    double = made(dim=4, noise=0.5).minibatches(["w0"], 1)(torch.zeros(1, 4, dtype=torch.float64), 3)
    single = made(dim=4, noise=0.5, dtype="float32").minibatches(["w0"], 1)(torch.zeros(1, 4), 3)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=1e-7)


def test_without_noise_the_gradient_is_exact() -> None:
    assert not noise_of(made(dim=3), ["w0", "w1"], 5).any()


def test_the_whole_data_has_no_noise() -> None:
    landscape, X = made(dim=3, noise=0.5), normal(2, 3)
    exact = landscape.grad(X, walkers=["w0", "w1"])
    assert torch.equal(landscape.minibatches(["w0", "w1"], None)(X, 4), exact)
