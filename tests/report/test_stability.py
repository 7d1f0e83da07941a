"""The bound drawn beside the edges: steps of the dynamics themselves are stable below it, and unstable above."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from walkers_dist.dynamics.lbfgs import LBFGS
from walkers_dist.dynamics.sgd import SGD
from walkers_dist.report.stability import Limit, stability_limit

EVENTS = pd.DataFrame({"step": [], "source": [], "key": [], "old": [], "new": []}).astype({"key": "str", "new": "str"})


def results(*rates: tuple[int, float]) -> pd.DataFrame:
    rows = [(t, who, lr) for t, lr in rates for who in ("center", "w0")]
    return pd.DataFrame(rows, columns=["step", "walker", "lr"]).astype({"lr": "float64"})


def limit(dynamics: object, rates: pd.DataFrame, events: pd.DataFrame = EVENTS) -> Limit:
    found = stability_limit(rates, dynamics, events)
    assert found is not None
    return found


def size_after(dynamics: SGD, h: float, steps: int = 3000) -> float:
    """|x| after so many steps on h x^2 / 2 from x = 1."""
    x, state = torch.ones(1, 1, dtype=torch.float64), {}
    for t in range(steps):
        dynamics.move(x, dynamics.gradient(x, lambda x: h * x, state, t), state, t)
    return float(x.abs())


@pytest.mark.parametrize(
    ("keys", "formula"),
    [
        ({"momentum": 0.0}, "2/lr"),
        ({"momentum": 0.0, "dampening": 0.5}, "2/lr"),
        ({"momentum": 0.9}, "2(1+m)/lr"),
        ({"momentum": 0.5, "dampening": 0.5}, "2(1+m)/((1−dampening) lr)"),
        ({"momentum": 0.9, "nesterov": True}, "2(1+m)/((1+2m) lr)"),
        ({"momentum": 0.5, "weight_decay": 3.0}, "2(1+m)/lr − weight decay"),
    ],
)
def test_steps_are_stable_below_the_bound_and_unstable_above(keys: dict[str, float], formula: str) -> None:
    dynamics = SGD(lr=0.1, **keys)  # type: ignore[arg-type]
    found = limit(dynamics, results((0, 0.1)))
    assert found.formula == formula and len(found.values) == 1
    bound = float(found.values[0])
    assert size_after(dynamics, 0.99 * bound) < 1e-3
    assert size_after(dynamics, 1.01 * bound) > 1e3


def test_the_bound_follows_the_step_size_and_the_momentum() -> None:
    events = pd.DataFrame({"step": [20, 30], "key": ["dynamics.momentum", "dynamics.lr"], "new": ["0.0", "0.05"]})
    found = limit(SGD(lr=0.1, momentum=0.5), results((0, 0.1), (10, 0.1), (20, 0.1), (30, 0.05), (40, 0.05)), events)
    np.testing.assert_allclose(found.steps, [0, 20, 30])
    np.testing.assert_allclose(found.values, [30, 20, 40])
    curve = found.curve(0, 40)
    assert (np.diff(curve.x) >= 0).all()
    for step, before, after in ((20, 30, 20), (30, 20, 40)):  # a jump, not a slope
        assert curve.y[curve.x == step][0] == pytest.approx(before)
        assert curve.y[curve.x == step][-1] == pytest.approx(after)
    assert set(np.round(curve.y, 9)) == {30, 20, 40}
    np.testing.assert_allclose(found.curve(32, 35).y, 40)


def test_there_is_no_bound_without_step_sizes_or_for_other_steps() -> None:
    assert stability_limit(results(), SGD(), EVENTS) is None
    assert stability_limit(results((0, np.nan)), SGD(), EVENTS) is None
    assert stability_limit(results((0, 1.0)), LBFGS(), EVENTS) is None
