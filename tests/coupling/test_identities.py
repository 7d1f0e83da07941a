"""Identities of the update rules, seen in the real program: what forces conserve, and momentum as a negative force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

ALPHA = 0.1
FLAT = {"dim": 2, "curvature": 0.0, "start": [1.0, 2.0, -3.0, 4.5], "center_start": 0.7}
"""A bowl without a slope: nothing acts but the forces."""

# What forces conserve


def on_flat_ground(bowl: Any, **rule: Any) -> dict[str, Any]:
    schedule = [{"at": 10, "set": {"coupling.period": 3}}]
    return bowl({"alpha": ALPHA, "period": 1, **rule}, steps=25, more={"schedule": schedule}, **FLAT)


def drift(total: np.ndarray) -> float:
    """The largest relative change [T, P] since the first step."""
    return float(abs(total / total[0] - 1).max())


@pytest.mark.parametrize("order", ["simultaneous", "gradient_first"])
def test_forces_conserve_center_and_walkers_together(order: str, program: Any, bowl: Any) -> None:
    seen = program.both(on_flat_ground(bowl, name="easgd", order=order))
    assert drift(seen.c + seen.x.sum(1)) < 1e-14
    assert abs(seen.c[-1] - seen.c[0]).min() > 0.1


def test_a_center_that_moves_last_weighs_the_walkers_less(program: Any, bowl: Any) -> None:
    """Sum (x^i - c) = S: the walkers give alpha S, the center takes alpha (1 - alpha) S."""
    seen = program.both(on_flat_ground(bowl, name="easgd", order="center_last"))
    assert drift(seen.c + (1 - ALPHA) * seen.x.sum(1)) < 1e-14
    assert drift(seen.c + seen.x.sum(1)) > 1e-3


@pytest.mark.parametrize("rescale", [True, False])
def test_elementary_conserves_nothing(rescale: bool, program: Any, bowl: Any) -> None:
    seen = program.here(on_flat_ground(bowl, name="elementary", rescale=rescale))
    for weight in (1.0, 1 - ALPHA):
        assert drift(seen.c + weight * seen.x.sum(1)) > 1e-3


# Momentum as a negative force: one walker, alpha = -delta, beta = 1


def momentum_as_force(delta: float) -> dict[str, Any]:
    return {"name": "easgd", "alpha": -delta, "beta": 1.0, "period": 1, "order": "simultaneous"}


def heavy_ball(landscape: Any, theta: torch.Tensor, eta: float, delta: float, batch: int, steps: int) -> Any:
    """x' = x - eta g(x) + delta (x - x_before): [T, P]; the gradient is that of w0's own minibatches."""
    gradient = landscape.minibatches(["w0"], batch)
    before, x, seen = theta, theta, [theta]
    for t in range(steps):
        before, x = x, x - eta * gradient(x[None], t)[0] + delta * (x - before)
        seen.append(x)
    return torch.stack(seen).numpy()


@pytest.mark.parametrize("delta", [0.9, -0.4])
def test_one_repelled_walker_is_a_heavy_ball(delta: float, program: Any, bowl: Any) -> None:
    experiment = bowl(
        momentum_as_force(delta), walkers=1, steps=40, dim=3, curvature=[0.2, 1.0, 3.0], start=2.0, noise=0.3
    )
    seen = program.both(experiment)
    ball = heavy_ball(seen.run.landscape, torch.full((3,), 2.0, dtype=torch.float64), 0.1, delta, 1, 40)
    np.testing.assert_allclose(seen.x[:, 0], ball, rtol=0, atol=1e-13)
    np.testing.assert_allclose(seen.c[1:], seen.x[:-1, 0], rtol=0, atol=1e-13)  # the center is where the walker was


def digits(**more: Any) -> dict[str, Any]:
    """A small network on few digits: 4 minibatches an epoch."""
    return {
        "name": "digits", "dtype": "float64", "device": "cpu", "analysts": 0, "checkpoint": None,
        "walkers": 1, "walkers_per_process": 1, "steps": 30, "log": {"every": 30}, "snapshots": {"every": 1},
        "landscape": {"kind": "network", "data": {"name": "digits", "train_size": 200}, "model": {"hidden": [8]}},
        **more,
    }  # fmt: skip


def test_one_repelled_network_is_a_heavy_ball_and_sgd_with_momentum(program: Any) -> None:
    delta, sgd = 0.8, {"name": "sgd", "lr": 0.05, "batch_size": 50}
    seen = program.both(digits(dynamics={**sgd, "momentum": 0.0}, coupling=momentum_as_force(delta)))
    ball = heavy_ball(seen.run.landscape, seen.run.snapshot(0, "w0"), 0.05, delta, 50, 30)
    np.testing.assert_allclose(seen.x[:, 0], ball, rtol=0, atol=1e-13)
    alone = program.here(digits(dynamics={**sgd, "momentum": delta}, coupling=None)).x[:, 0]
    np.testing.assert_allclose(alone, ball, rtol=0, atol=1e-13)
    assert abs(ball[-1] - ball[0]).max() > 0.1
