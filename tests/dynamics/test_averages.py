"""`asgd` and `mvasgd`: the rows are averages of where `sgd` goes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.coupling.none import NoCoupling
from walkers_dist.dynamics.averages import MVASGD

BENT = {
    "kind": "quadratic", "dim": 3, "curvature": [0.2, 1.0, 4.0], "start": [1.0, 2.0], "optima": [0.5, -0.3],
    "noise": 0.4,
}  # fmt: skip
DIGITS = {
    "kind": "network", "data": {"name": "digits", "train_size": 150, "test_size": 20}, "model": {"hidden": [7]},
    "init": {"same": False},
}  # fmt: skip


@pytest.mark.parametrize("landscape", [BENT, DIGITS], ids=lambda keys: keys["kind"])
def test_asgd_is_the_mean_of_where_sgd_was(landscape: dict[str, Any], run: Any, points: Any) -> None:
    keys = {"walkers": 2, "steps": 20, "landscape": landscape}
    plain = {"lr": 0.1, "batch_size": 30, "weight_decay": 0.01}
    x = points(run({**keys, "dynamics": {"name": "sgd", "momentum": 0.0, **plain}}))[:, 1:]
    z = points(run({**keys, "dynamics": {"name": "asgd", **plain}}))[:, 1:]
    assert torch.equal(z[0], x[0])
    for t in range(1, 21):
        torch.testing.assert_close(z[t], x[:t].mean(0), rtol=1e-12, atol=1e-12)


def test_what_is_measured_is_measured_at_the_average(run: Any) -> None:
    keys = {"walkers": 2, "steps": 30, "landscape": DIGITS, "log": {"every": 10}}
    seen = run({**keys, "dynamics": {"name": "asgd", "batch_size": 30}})
    found = seen.results.query("walker == 'w1' and step == 20").iloc[0]
    loss, _ = seen.landscape.values(seen.snapshot(20, "w1")[None])
    assert found.train_loss == pytest.approx(loss.item(), rel=1e-10)
    plain = run({**keys, "dynamics": {"name": "sgd", "batch_size": 30, "momentum": 0.0}}).results
    assert plain.query("walker == 'w1' and step == 20").iloc[0].train_loss != found.train_loss


def test_mvasgd_is_the_center_of_easgd_without_a_force(run: Any, points: Any) -> None:
    """alpha = 0, beta = a, one walker (SPEC A.4, item 8)."""
    keys = {"walkers": 1, "steps": 40, "landscape": {**BENT, "start": 1.0, "optima": 0.5}}
    schedule = [{"at": 15, "set": {"dynamics.a": 0.5}}], [{"at": 15, "set": {"coupling.beta": 0.5}}]
    z = points(run({**keys, "dynamics": {"name": "mvasgd", "a": 0.1}, "schedule": schedule[0]}))[:, 0]
    easgd = {"name": "easgd", "alpha": 0.0, "beta": 0.1, "period": 1}
    c = points(run({**keys, "dynamics": {"name": "sgd", "momentum": 0.0}, "coupling": easgd, "schedule": schedule[1]}))[
        :, 0
    ]
    torch.testing.assert_close(z, c, rtol=1e-13, atol=1e-13)
    assert abs(z[-1] - z[0]).min() > 0.1


def test_a16(variance: Any, printed: Any) -> None:
    assert variance(MVASGD(lr=0.1, a=0.1), NoCoupling(), 1.0, 1, "row", 600) == printed("0.0263886864")


def test_a16_by_simulation(run: Any, points: Any) -> None:
    """Every coordinate of a bowl is a sample of its own."""
    bowl = {"kind": "quadratic", "dim": 200_000, "curvature": 1.0, "start": 0.0, "noise": 1.0}
    often = {"snapshots": {"every": 70}, "log": {"every": 210}, "control": {"every": 210}}
    seen = run({"walkers": 1, "steps": 210, "landscape": bowl, "dynamics": {"name": "mvasgd", "a": 0.1}, **often})
    z = points(seen)[-2:]
    assert z.numel() >= 4e5
    assert z.square().mean().item() == pytest.approx(0.0263886864, rel=0.03)


@pytest.mark.parametrize("name", ["asgd", "mvasgd"])
def test_resumed_and_elsewhere_it_is_the_same(name: str, goes_on: Any) -> None:
    goes_on({"name": name}, None)


def test_the_center_that_descends_is_an_average_too(run: Any, points: Any) -> None:
    keys = {"walkers": 2, "steps": 15, "landscape": BENT, "coupling": {"name": "none", "center": "gd"}}
    c = points(run({**keys, "dynamics": {"name": "sgd", "momentum": 0.0}}))[:, 0]
    z = points(run({**keys, "dynamics": {"name": "asgd"}}))[:, 0]
    torch.testing.assert_close(z[15], c[:15].mean(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["asgd", "mvasgd"])
@pytest.mark.parametrize("coupling", ["easgd", "elementary"])
def test_forces_are_refused(name: str, coupling: str) -> None:
    with pytest.raises(UserError) as caught:
        parse({"dynamics": {"name": name}, "coupling": {"name": coupling}}, "x")
    assert str(caught.value) == f"dynamics.name = {name}: averages cannot be pulled: needs coupling.name = none"


@pytest.mark.parametrize("a", [0.0, 1.5])
def test_weights_are_refused(a: float) -> None:
    with pytest.raises(UserError, match=rf"^dynamics\.a = {a}: must be greater than 0 and at most 1$"):
        parse({"dynamics": {"name": "mvasgd", "a": a}, "coupling": None}, "x")
