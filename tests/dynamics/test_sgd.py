"""Steps of `sgd` and `gd` in the real program against `torch.optim.SGD`, one optimizer per walker."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import walkers_dist as wd
from walkers_dist.dynamics.gd import GD
from walkers_dist.dynamics.sgd import SGD
from walkers_dist.landscape import stream


def course(run: wd.Run, walker: str) -> Tensor:
    """Every point [T, P] of a walker."""
    return torch.stack([run.snapshot(t, walker) for t in run.steps])


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


# On a bowl

OPTIONS = {
    "plain": {"momentum": 0.0},
    "momentum": {"momentum": 0.9},
    "dampening": {"momentum": 0.7, "dampening": 0.4},
    "Torch7": {"momentum": 0.5, "dampening": 0.5},
    "Nesterov": {"momentum": 0.8, "nesterov": True},
    "weight decay": {"momentum": 0.0, "weight_decay": 0.3},
    "decay and momentum": {"momentum": 0.6, "dampening": 0.2, "weight_decay": 0.1},
    "decay and Nesterov": {"momentum": 0.6, "nesterov": True, "weight_decay": 0.1},
}
H = [0.2, 1.0, 4.0]
OPTIMA, STARTS = [0.5, -0.3, 0.0], [1.0, 2.0, -3.0]
NOISE, SEED, STEPS, LATER = 0.4, 3, 25, 12


def by_torch(number: int, options: dict[str, Any], noise: float) -> Tensor:
    """A walker's course over the noisy bowl; its learning rate falls from 0.1 to 0.03 on the way."""
    x = torch.full((3,), STARTS[number], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.1, **options)
    seen = [x.detach().clone()]
    for t in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.1 if t < LATER else 0.03
        xi = torch.randn(3, generator=stream(SEED, f"w{number}", "noise", t), dtype=torch.float64)
        optimizer.zero_grad()
        ((x - OPTIMA[number]).square() @ torch.tensor(H, dtype=torch.float64) / 2 - noise * xi @ x).backward()
        optimizer.step()
        seen.append(x.detach().clone())
    return torch.stack(seen)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", ["sgd", "gd"])
def test_every_step_is_that_of_torch(name: str, options: dict[str, Any], run: Any) -> None:
    noise = NOISE if name == "sgd" else 0.0
    bowl = {"kind": "quadratic", "dim": 3, "curvature": H, "optima": OPTIMA, "start": STARTS, "noise": noise}
    seen = run(
        {
            "seed": SEED, "walkers": 3, "steps": STEPS, "landscape": bowl,
            "dynamics": {"name": name, "lr": 0.1, **options},
            "schedule": [{"at": LATER, "set": {"dynamics.lr": 0.03}}],
        }
    )  # fmt: skip
    for number in range(3):
        same(course(seen, f"w{number}"), by_torch(number, options, noise))


def test_three_steps_of_torch7(run: Any) -> None:
    """SPEC E.1, `mom`: the original's own optimizer, h = 1, x0 = 1; momentum without dampening would give 0.9, 0.76."""
    seen = run(
        {
            "walkers": 1, "steps": 3, "dynamics": {"name": "sgd", "lr": 0.1, "momentum": 0.5, "dampening": 0.5},
            "landscape": {"kind": "quadratic", "curvature": 1.0, "start": 1.0},
        }
    )  # fmt: skip
    assert course(seen, "w0").ravel().tolist() == pytest.approx([1, 0.9, 0.805, 0.71725], abs=1e-15)


@pytest.mark.parametrize("kind", [SGD, GD])
def test_three_moves_of_torch7(kind: type[SGD]) -> None:
    """SPEC E.1, `mom`: the first buffer is the gradient itself, later ones take half of it."""
    X, state, seen = torch.ones(1, 1, dtype=torch.float64), {}, []
    for t in range(3):
        kind(lr=0.1, momentum=0.5, dampening=0.5).move(X, X.clone(), state, t)
        seen.append(X.item())
    assert seen == pytest.approx([0.9, 0.805, 0.71725], abs=1e-15)


# On a network: 150 images, 4 minibatches of 35 an epoch and 10 images left over

TRAIN, BATCH, L2 = 150, 35, 0.01


def network(dynamics: dict[str, Any]) -> dict[str, Any]:
    return {
        "walkers": 2, "steps": 14, "dynamics": dynamics,
        "landscape": {
            "kind": "network", "data": {"name": "digits", "train_size": TRAIN}, "model": {"hidden": [7, 6]},
            "l2": L2, "init": {"same": False},
        },
    }  # fmt: skip


def train(run: wd.Run, walker: str, batches: list[Tensor], **options: Any) -> Tensor:
    """The course of `torch.optim.SGD` from the walker's start, by automatic differentiation of a torch module."""
    net: nn.Module = run.model(0, walker)
    x, y = run.landscape.inputs["train"], run.landscape.targets["train"].argmax(1)
    optimizer = torch.optim.SGD(net.parameters(), **options)
    seen = [nn.utils.parameters_to_vector(net.parameters()).detach().clone()]
    for chosen in batches:
        optimizer.zero_grad()
        penalty = sum(w.square().sum() for w in net.parameters())
        (F.cross_entropy(net(x[chosen]), y[chosen]) + L2 / 2 * penalty).backward()
        optimizer.step()
        seen.append(nn.utils.parameters_to_vector(net.parameters()).detach().clone())
    return torch.stack(seen)


@pytest.mark.parametrize("options", [{"momentum": 0.5}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.02}])
def test_minibatch_training_is_that_of_torch(options: dict[str, Any], run: Any) -> None:
    """A new permutation for each walker in each epoch; its last, partial minibatch is dropped."""
    seen = run(network({"name": "sgd", "lr": 0.2, "batch_size": BATCH, **options}))
    for walker in ("w0", "w1"):
        batches = [
            batch
            for epoch in range(4)
            for batch in torch.randperm(TRAIN, generator=stream(0, walker, "order", epoch)).split(BATCH)[:4]
        ]
        same(course(seen, walker), train(seen, walker, batches[:14], lr=0.2, **options))
    assert not torch.equal(seen.snapshot(0, "w0"), seen.snapshot(0, "w1"))


def test_gd_uses_the_whole_training_set(run: Any) -> None:
    seen = run(network({"name": "gd", "lr": 0.2, "momentum": 0.5}))
    for walker in ("w0", "w1"):
        same(course(seen, walker), train(seen, walker, [torch.arange(TRAIN)] * 14, lr=0.2, momentum=0.5))
