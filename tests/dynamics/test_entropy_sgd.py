"""`entropy_sgd`: published digits of its two loops, the formula written out, its noise, and what it is at L = 0."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.coupling.none import NoCoupling
from walkers_dist.dynamics.entropy_sgd import EntropySGD
from walkers_dist.landscape import stream
from walkers_dist.landscape.normals import Asked, keys, normals

PLAIN = {"name": "entropy_sgd", "momentum": 0.0, "inner_momentum": 0.0, "noise": 0.0, "scoping": 0.0}


def inner_loop(kind: EntropySGD, h: float, X: Tensor) -> dict[str, Tensor]:
    """The state after L steps of the walk on a bowl."""
    state: dict[str, Tensor] = {}
    streams = keys(0, [f"w{i}" for i in range(len(X))], "dynamics")
    for t in range(kind.inner_steps):
        kind.gradient(X, Asked(lambda X: h * X, streams, t), state, t)
    return state


@pytest.mark.parametrize(
    ("m", "mu", "y"),
    [(0.0, ".2152218173", ".2025369696"), (0.9, ".0199565112", ".0044429727")],
    ids=["C1", "C2"],
)
def test_inner_loop(m: float, mu: str, y: str, printed: Any) -> None:
    kind = EntropySGD(**{**PLAIN, "inner_momentum": m}, gamma=0.5, inner_steps=20, inner_lr=0.1, ema=0.75)
    state = inner_loop(kind, 2.0, torch.ones(1, 1, dtype=torch.float64))
    assert state["mu"].item() == printed(mu) and state["y"].item() == printed(y)


@pytest.mark.parametrize(("times_gamma", "x"), [(False, ".1308150509"), (True, ".6541139569")])
def test_c3_outer_loop(times_gamma: bool, x: str, run: Any, points: Any, printed: Any) -> None:
    dynamics = {**PLAIN, "lr": 1.0, "gamma": 0.2, "scoping": 0.1, "times_gamma": times_gamma}
    bowl = {"kind": "quadratic", "curvature": 0.3, "start": 1.0}
    seen = points(run({"walkers": 1, "steps": 100, "landscape": bowl, "dynamics": dynamics}))[:, 0, 0]
    assert seen[-1].item() == printed(x)
    moved = [t for t in range(100) if seen[t + 1] != seen[t]]
    assert moved == [19, 39, 59, 79, 99]


def test_c4_the_walk_is_stationary_with_the_published_moments() -> None:
    """2.5e5 coordinates of two walkers are samples of their own."""
    kind = EntropySGD(**{**PLAIN, "noise": 0.3}, gamma=0.5, inner_steps=60, inner_lr=0.1)
    y = inner_loop(kind, 2.0, torch.ones(2, 250_000, dtype=torch.float64))["y"]
    assert y.mean().item() == pytest.approx(0.2, rel=0.03)
    assert y.var().item() == pytest.approx(0.04114286, rel=0.03)
    r = 1 - 0.1 * (2 + 0.5)
    assert 0.3**2 * 2 * 0.1 / (1 - r**2) == pytest.approx(0.04114286, abs=5e-9)
    assert abs(np.corrcoef(y[0], y[1])[0, 1]) < 0.02


def test_local_entropy_gradient() -> None:
    """gamma (x - <y>) = gamma h x / (gamma + h) on a bowl, at any temperature (SPEC C.1)."""
    kind = EntropySGD(**{**PLAIN, "noise": 0.1}, gamma=0.5, inner_steps=60, ema=0.0, times_gamma=True)
    X, state = torch.full((2, 200_000), 3.0, dtype=torch.float64), {}
    for t in range(60):
        d = kind.gradient(X, Asked(lambda X: 2.0 * X, keys(0, ["w0", "w1"], "dynamics"), t), state, t)
    assert d.mean().item() == pytest.approx(0.5 * 2 * 3 / (0.5 + 2), rel=1e-3)


BENT = {"kind": "quadratic", "dim": 3, "curvature": [0.2, 1.0, 4.0], "start": [1.0, 2.0], "optima": [0.5, -0.3]}


def test_every_step_written_out(run: Any, points: Any) -> None:
    """One walker after the other, with noise of both kinds, momentum in both loops and changes on the way."""
    L, l, b, m, gamma0, gamma1, eps = 4, 0.05, 0.6, 0.7, 0.3, 0.2, 0.2
    dynamics = {
        "name": "entropy_sgd", "lr": 0.5, "momentum": 0.8, "inner_steps": L, "inner_lr": l, "inner_momentum": m,
        "ema": b, "gamma": gamma0, "scoping": gamma1, "noise": eps, "weight_decay": 0.1,
    }  # fmt: skip
    schedule = [{"at": 17, "set": {"dynamics.lr": 0.2}}]
    bowl = {**BENT, "noise": 0.4}
    seen = points(run({"walkers": 2, "steps": 32, "landscape": bowl, "dynamics": dynamics, "schedule": schedule}))
    h, streams = torch.tensor(BENT["curvature"], dtype=torch.float64), keys(0, ["w0", "w1"], "dynamics")
    for i in range(2):
        x, B = torch.full((3,), BENT["start"][i], dtype=torch.float64), None
        for t in range(32):
            if t % L == 0:
                y, mu, v = x, x, torch.zeros(3, dtype=torch.float64)
            xi = torch.randn(3, generator=stream(0, f"w{i}", "noise", t), dtype=torch.float64)
            f = h * (y - BENT["optima"][i]) - 0.4 * xi + 0.1 * y
            v = m * v + f
            y = y - l * (f + m * v - gamma0 * (1 + gamma1) ** (t // L) * (x - y))
            y = y + eps * sqrt(2 * l) * normals(streams[i : i + 1], t, x[None])[0]
            mu = b * mu + (1 - b) * y
            if t % L == L - 1:
                d = x - mu
                B = d if B is None else 0.8 * B + d
                x = x - (0.5 if t < 17 else 0.2) * (d + 0.8 * B)
            torch.testing.assert_close(seen[t + 1, 1 + i], x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_without_a_loop_it_is_sgd_with_nesterov_bit_for_bit(momentum: float, run: Any, points: Any) -> None:
    keys = {
        "walkers": 2, "steps": 12, "coupling": {"name": "easgd", "period": 3},
        "landscape": {
            "kind": "network", "data": {"name": "digits", "train_size": 150, "test_size": 20}, "model": {"hidden": [7]}
        },
    }  # fmt: skip
    rate = {"lr": 0.05, "momentum": momentum, "batch_size": 30, "weight_decay": 0.01}
    one = run({**keys, "dynamics": {"name": "entropy_sgd", "inner_steps": 0, **rate}})
    other = run({**keys, "dynamics": {"name": "sgd", "nesterov": momentum > 0, **rate}})
    assert torch.equal(points(one), points(other))


def test_the_number_of_steps_may_change_on_the_way(by_hand: Any) -> None:
    """A loop that is cut begins afresh where t mod L = 0, or at once where there was none."""
    X = torch.ones(1, 2, dtype=torch.float64)
    state: dict[str, Tensor] = {}
    begun = []
    for t in range(24):
        L = 5 if t < 7 else 0 if t < 10 else 4
        kind = EntropySGD(**PLAIN, inner_steps=L, lr=0.1)
        before = state.get("y")
        g = kind.gradient(X, Asked(torch.clone, torch.zeros(1, dtype=torch.int64), t), state, t)
        begun += [t] if L and state["y"] is not before else []
        kind.move(X, g, state, t)
    assert begun == [0, 5, 10, 12, 16, 20] and X.isfinite().all()


def test_resumed_and_elsewhere_it_is_the_same(goes_on: Any) -> None:
    """The checkpoint of step 21 is in the middle of a loop of 5; with noise, and momentum in both loops."""
    dynamics = {"name": "entropy_sgd", "lr": 0.5, "inner_steps": 5, "noise": 0.1, "gamma": 0.1}
    goes_on(dynamics, {"name": "easgd", "alpha": 0.1, "period": 5})


def test_a_walker_that_is_lost_takes_no_other_with_it(by_hand: Any) -> None:
    kind = EntropySGD(lr=0.5, inner_steps=3, noise=0.1)
    X = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.1]], dtype=torch.float64)
    whole = by_hand(kind, NoCoupling(), X, X[0], lambda X, t: 2 * X, 10)[-1][0]
    X[1] = torch.nan
    lost = by_hand(kind, NoCoupling(), X, X[0], lambda X, t: 2 * X, 10)[-1][0]
    assert torch.equal(lost[[0, 2]], whole[[0, 2]]) and lost[1].isnan().all()


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("inner_steps", -1, "dynamics.inner_steps = -1: must be at least 0"),
        ("ema", 1.0, "dynamics.ema = 1.0: must be at least 0 and less than 1"),
        ("inner_lr", 0.0, "dynamics.inner_lr = 0.0: must be greater than 0"),
    ],
)
def test_refused(key: str, value: object, line: str) -> None:
    with pytest.raises(UserError) as caught:
        parse({"dynamics": {"name": "entropy_sgd", key: value}}, "x")
    assert str(caught.value) == line


# The numbers themselves


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_numbers_are_normal(dtype: torch.dtype) -> None:
    found = normals(keys(3, ["w0", "w1"], "dynamics"), 7, torch.empty(2, 200_001, dtype=dtype))
    assert found.dtype == dtype and found.shape == (2, 200_001) and found.isfinite().all()
    for row in found.double().numpy():
        assert stats.kstest(row, "norm").pvalue > 1e-3
        for lag in (1, 2, 3, 100_000):  # cos and sin of one angle stand side by side
            assert abs(np.corrcoef(row[:-lag], row[lag:])[0, 1]) < 0.012
            assert abs(np.corrcoef(row[:-lag] ** 2, row[lag:] ** 2)[0, 1]) < 0.012


def test_normal_numbers_are_of_seed_walker_purpose_step_and_place_alone() -> None:
    like = torch.empty(3, 150_001, dtype=torch.float64)
    names = ["w0", "w1", "w2"]
    whole = normals(keys(0, names, "dynamics"), 4, like)
    for k, name in enumerate(names):
        assert torch.equal(normals(keys(0, [name], "dynamics"), 4, like[:1]), whole[k : k + 1])
    assert torch.equal(normals(keys(0, names, "dynamics"), 4, like[:, :10]), whole[:, :10])
    others = [
        normals(keys(1, names, "dynamics"), 4, like),
        normals(keys(0, names, "noise"), 4, like),
        normals(keys(0, names, "dynamics"), 5, like),
        normals(keys(0, names, "dynamics"), 2**40, like),
        whole.roll(1, 0),
    ]
    for other in others:
        assert abs(np.corrcoef(whole.ravel(), other.ravel())[0, 1]) < 0.01
