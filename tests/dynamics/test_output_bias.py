"""`output_bias_lr_scale`: the damping of the last ten parameters in elementary-walkers, by name (SPEC E.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import walkers_dist as wd
from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.dynamics.sgd import SGD
from walkers_dist.landscape import stream

TRAIN, BATCH, STEPS = 120, 30, 12


def network(dynamics: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {
        "walkers": 2, "steps": STEPS, "dynamics": {"lr": 0.2, **dynamics},
        "landscape": {
            "kind": "network", "data": {"name": "digits", "train_size": TRAIN, "test_size": 20},
            "model": {"hidden": [7, 6], "activation": "tanh"}, "init": {"same": False},
        },
        **keys,
    }  # fmt: skip


def by_torch(run: wd.Run, walker: str, scales: list[float], full: bool, **options: Any) -> Tensor:
    """The course of `torch.optim.SGD` whose output bias is set back after each step, as the original does."""
    net: nn.Module = run.model(0, walker)
    bias = [layer for layer in net.modules() if isinstance(layer, nn.Linear)][-1].bias
    x, y = run.landscape.inputs["train"], run.landscape.targets["train"].argmax(1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2, **options)
    seen = [nn.utils.parameters_to_vector(net.parameters()).detach().clone()]
    for t, scale in enumerate(scales):
        order = torch.randperm(TRAIN, generator=stream(0, walker, "order", t // 4)).split(BATCH)
        chosen = torch.arange(TRAIN) if full else order[t % 4]
        optimizer.zero_grad()
        F.cross_entropy(net(x[chosen]), y[chosen]).backward()
        before = bias.detach().clone()
        optimizer.step()
        with torch.no_grad():
            bias.copy_(scale * bias + (1 - scale) * before)
        seen.append(nn.utils.parameters_to_vector(net.parameters()).detach().clone())
    return torch.stack(seen)


@pytest.mark.parametrize("name", ["sgd", "gd"])
@pytest.mark.parametrize("options", [{"momentum": 0.0}, {"momentum": 0.5, "dampening": 0.5}], ids=["plain", "Torch7"])
def test_the_bias_moves_a_tenth_of_the_way_and_its_momentum_does_not_know(
    name: str, options: dict[str, Any], run: Any
) -> None:
    batch = {"batch_size": BATCH} if name == "sgd" else {}
    seen = run(network({"name": name, "output_bias_lr_scale": 0.1, **options, **batch}))
    for walker in ("w0", "w1"):
        expected = by_torch(seen, walker, [0.1] * STEPS, name == "gd", **options)
        found = torch.stack([seen.snapshot(t, walker) for t in seen.steps])
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
    free = by_torch(seen, "w0", [1.0] * STEPS, name == "gd", **options)
    assert (free - by_torch(seen, "w0", [0.1] * STEPS, name == "gd", **options)).abs().max() > 1e-3  # it matters


def test_it_may_change_while_running(run: Any) -> None:
    """0 holds the bias where it is, 1 lets it go: then its momentum from before comes out."""
    schedule = [{"at": 4, "set": {"dynamics.output_bias_lr_scale": 0.0}}]
    schedule += [{"at": 8, "set": {"dynamics.output_bias_lr_scale": 1.0}}]
    seen = run(network({"name": "gd", "momentum": 0.6, "output_bias_lr_scale": 2.0}, schedule=schedule))
    expected = by_torch(seen, "w1", [2.0] * 4 + [0.0] * 4 + [1.0] * 4, True, momentum=0.6)
    torch.testing.assert_close(torch.stack([seen.snapshot(t, "w1") for t in seen.steps]), expected, rtol=0, atol=1e-13)
    held = expected[4:9, seen.landscape.output_bias]
    assert torch.equal(held, held[:1].expand_as(held))


def test_nowhere_but_in_the_bias() -> None:
    """It lies where the landscape says, be it in the middle."""
    X = torch.ones(3, 8, dtype=torch.float64)
    g = torch.arange(24, dtype=torch.float64).view(3, 8)
    SGD(lr=0.5, momentum=0.0, output_bias_lr_scale=0.1).step(X, g, {}, 0, slice(2, 5))
    lr = torch.tensor([0.5, 0.5, 0.05, 0.05, 0.05, 0.5, 0.5, 0.5], dtype=torch.float64)
    torch.testing.assert_close(X, 1 - lr * g, rtol=0, atol=1e-15)


def test_the_center_of_gd_is_not_damped(run: Any) -> None:
    """As in the original."""
    keys = {"coupling": {"name": "none", "center": "gd"}}
    free, damped = (run(network({"name": "sgd", "batch_size": BATCH, **d}, **keys)) for d in ({}, SCALE))
    assert torch.equal(free.snapshot(STEPS, "center"), damped.snapshot(STEPS, "center"))
    assert not torch.equal(free.snapshot(STEPS, "w0"), damped.snapshot(STEPS, "w0"))


SCALE = {"output_bias_lr_scale": 0.1}
BOWL = {"name": "bowl", "landscape": {"kind": "quadratic"}, "analysts": 0, "steps": 20, "checkpoint": {"every": 10}}
LINE = r"dynamics\.output_bias_lr_scale = 0\.1: must be 1 on a landscape without an output layer that has a bias"


@pytest.mark.parametrize(
    "keys", [{"dynamics": SCALE}, {"schedule": [{"at": 3, "set": {"dynamics.output_bias_lr_scale": 0.1}}]}]
)
def test_refused_where_there_is_no_output_bias(keys: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{LINE}$"):
        wd.run({**BOWL, **keys}, run_dir=tmp_path / "run", report=False)
    assert not (tmp_path / "run").exists()


def test_refused_at_a_resume(tmp_path: Path) -> None:
    run = wd.run(BOWL, run_dir=tmp_path / "run", report=False)
    with pytest.raises(UserError, match=f"^{LINE}$"):
        wd.resume(run.path, ["steps=30", "dynamics.output_bias_lr_scale=0.1"], report=False)
    assert wd.resume(run.path, ["steps=30", "dynamics.output_bias_lr_scale=1"], report=False).results.step.max() == 30


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_a_scale_is_finite_and_not_negative(value: float) -> None:
    with pytest.raises(UserError, match=r"^dynamics\.output_bias_lr_scale = .*: must be .*at least 0"):
        parse({"dynamics": {"output_bias_lr_scale": value}}, "x")


def test_by_default_nothing_is_damped() -> None:
    """DESIGN: 1.0, and 0.1 in `configs/elementary`."""
    assert parse({}, "x").dynamics.output_bias_lr_scale == 1.0
    with pytest.raises(UserError, match=r"unknown key dynamics\.output_bias_lr_scale"):
        parse({"dynamics": {"name": "lbfgs", **SCALE}}, "x")
