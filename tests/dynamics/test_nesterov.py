"""`nesterov`, alone and as EAMSGD: published digits, the formula written out, and what it becomes at delta = 0."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from walkers_dist.coupling.easgd import EASGD
from walkers_dist.dynamics.nesterov import Nesterov
from walkers_dist.landscape import stream

FOUR = {"kind": "quadratic", "curvature": 1.0, "start": [1.0, 2.0, 3.0, 4.0], "center_start": 0.0}
BENT = {"kind": "quadratic", "dim": 3, "curvature": [0.2, 1.0, 4.0], "start": [1.0, 2.0], "optima": [0.5, -0.3]}
MSGD = {"name": "nesterov", "lr": 0.1, "momentum": 0.9}


def eamsgd(**keys: Any) -> dict[str, Any]:
    """EAMSGD with the keys of G5."""
    coupling = {"name": "easgd", "alpha": 0.05, "period": 5, "order": "simultaneous"}
    return {"walkers": 4, "steps": 20, "landscape": FOUR, "dynamics": MSGD, "coupling": coupling, **keys}


def test_g5_here_and_over_gloo(run: Any, points: Any) -> None:
    here, there = run(eamsgd()), run.over_gloo(eamsgd(walkers_per_process=1))
    published = [0.1397742779, 0.1036845178, 0.2146121462, 0.3255397746, 0.4364674030]  # the center first
    assert points(here)[-1].ravel().tolist() == pytest.approx(published, rel=0, abs=1e-8)
    assert len([seat for seat in there.info["plan"] if seat["role"] == "walkers"]) == 4
    torch.testing.assert_close(points(there), points(here), rtol=1e-12, atol=1e-12)


def test_a15(variance: Any, printed: Any) -> None:
    coupling = EASGD(alpha=0.2, period=1)
    assert variance(Nesterov(lr=0.01, momentum=0.9), coupling, 1.0, 4, "center", 3000) == printed("0.0090281263")


def test_a15_by_simulation(run: Any, points: Any) -> None:
    """Every coordinate of a bowl is a sample of its own: 4 times 125000, far apart."""
    bowl = {"kind": "quadratic", "dim": 125_000, "curvature": 1.0, "start": 0.0, "noise": 1.0}
    seen = run(
        eamsgd(
            landscape=bowl, steps=400, snapshots={"every": 50}, log={"every": 400}, dynamics={**MSGD, "lr": 0.01},
            coupling={"name": "easgd", "alpha": 0.2, "period": 1}, control={"every": 400},
        )
    )  # fmt: skip
    center = points(seen)[-4:, 0]
    assert center.numel() >= 4e5
    assert center.square().mean().item() == pytest.approx(0.0090281263, rel=0.03)


@pytest.mark.parametrize("order", ["simultaneous", "gradient_first", "center_last"])
def test_without_momentum_it_is_easgd_bit_for_bit(order: str, run: Any, points: Any) -> None:
    coupling = {"name": "easgd", "alpha": 0.1, "period": 3, "order": order}
    keys = {"walkers": 2, "steps": 30, "landscape": {**BENT, "noise": 0.4}, "coupling": coupling}
    one, other = (run({**keys, "dynamics": {"name": name, "momentum": 0.0}}) for name in ("nesterov", "sgd"))
    assert torch.equal(points(one), points(other))


def test_every_step_and_every_change(run: Any, points: Any) -> None:
    """The formula, one walker after the other; momentum that was switched off comes back at rest."""
    schedule = [
        {"at": at, "set": {f"dynamics.{key}": value}}
        for at, key, value in [(8, "lr", 0.03), (12, "momentum", 0.0), (18, "momentum", 0.5)]
    ]
    dynamics = {**MSGD, "weight_decay": 0.2}
    seen = points(
        run(
            {"walkers": 2, "steps": 30, "landscape": {**BENT, "noise": 0.4}, "dynamics": dynamics, "schedule": schedule}
        )
    )
    h = torch.tensor(BENT["curvature"], dtype=torch.float64)
    for i in range(2):
        x, v = torch.full((3,), BENT["start"][i], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        for t in range(30):
            eta, delta = 0.1 if t < 8 else 0.03, 0.9 if t < 12 else 0.0 if t < 18 else 0.5
            if t == 18:
                v = torch.zeros_like(v)
            xi = torch.randn(3, generator=stream(0, f"w{i}", "noise", t), dtype=torch.float64)
            ahead = x + delta * v
            v = delta * v - eta * (h * (ahead - BENT["optima"][i]) - 0.4 * xi + 0.2 * ahead)
            x = x + v
            torch.testing.assert_close(seen[t + 1, 1 + i], x, rtol=1e-12, atol=1e-12)


def test_on_a_network_it_is_sgd_with_nesterov_seen_from_the_look_ahead(run: Any) -> None:
    """torch's form holds x + delta v: both go by the same minibatches, to the same gradients."""
    keys = {
        "walkers": 2, "steps": 12,
        "landscape": {
            "kind": "network", "data": {"name": "digits", "train_size": 150, "test_size": 20},
            "model": {"hidden": [7]}, "init": {"same": False},
        },
    }  # fmt: skip
    rate = {"lr": 0.05, "momentum": 0.8, "batch_size": 30}
    one = run({**keys, "dynamics": {"name": "nesterov", **rate}})
    other = run({**keys, "dynamics": {"name": "sgd", "nesterov": True, **rate}})
    for walker in ("w0", "w1"):
        x = torch.stack([one.snapshot(t, walker) for t in one.steps])
        ahead = x[1:] + 0.8 * (x[1:] - x[:-1])
        expected = torch.stack([other.snapshot(t, walker) for t in other.steps[1:]])
        torch.testing.assert_close(ahead, expected, rtol=1e-12, atol=1e-12)
        assert (x[1:] - expected).abs().max() > 1e-3


def test_resumed_and_elsewhere_it_is_the_same(goes_on: Any) -> None:
    goes_on(MSGD, {"name": "easgd", "alpha": 0.1, "period": 2})
