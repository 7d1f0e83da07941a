"""Tied, frozen and unused parameters of a user's module, against plain autograd and torch's optimiser on the module.

A tied parameter counts once and its derivatives are those of the tied vector, a frozen one never moves and is no part
of a point, an unused one has exactly no gradient and never moves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import walkers_dist as wd
from walkers_dist.config.landscape import NetworkConfig
from walkers_dist.config.registry import lookup
from walkers_dist.landscape import build
from walkers_dist.landscape.network import Network

SOURCE = """
import torch
from torch import nn

def data(seed):
    x = torch.randn(21, 5, generator=torch.Generator().manual_seed(seed))
    return x[:14], torch.arange(14) % 3, x[14:], torch.arange(7) % 3

class Tied(nn.Module):
    '''One matrix in two layers, in the second transposed, and one bias.'''
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.out = nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(5, 3)
        self.b.weight = self.a.weight
        self.c.bias = self.a.bias
    def forward(self, x):
        h = torch.tanh(self.c(torch.tanh(self.b(torch.tanh(self.a(x)) @ self.a.weight)) @ self.a.weight))
        return self.out(h @ self.b.weight)

class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(5, 6), nn.Linear(6, 4), nn.Linear(4, 3)
        self.a.requires_grad_(False)
        self.b.weight.requires_grad_(False)
        self.register_buffer("shift", torch.randn(4))
    def forward(self, x):
        return self.out(torch.tanh(self.b(torch.tanh(self.a(x))) + self.shift))

class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.spare = nn.Parameter(torch.full((2, 3), 0.7))
        self.a, self.never, self.out, self.last = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(3, 3)
    def forward(self, x):
        return self.out(torch.tanh(self.a(x)))
"""
SIZES = {"Tied": 20 + 4 + 4 + 20 + 18, "Frozen": 4 + 15, "Unused": 6 + 24 + 20 + 15 + 12}

STILL = {
    "Tied": set(),
    "Frozen": {"a.weight", "a.bias", "b.weight", "shift"},
    "Unused": {"spare", "never.weight", "never.bias", "last.weight", "last.bias"},
}


@pytest.fixture(params=SIZES)
def net(request: pytest.FixtureRequest) -> str:
    return request.param


def keys(module: str, net: str) -> dict[str, Any]:
    return {"data": {"name": f"{module}:data"}, "model": {"name": f"{module}:{net}"}}


def made(module: str, net: str) -> Network:
    landscape = build(NetworkConfig.model_validate(keys(module, net)), dtype=torch.float64)
    assert isinstance(landscape, Network)
    return landscape


def trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]  # each once, however often it is used


def flat(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trained(module)])


def gradient(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Mean loss over these samples, by backward on the module itself: an unused parameter has none."""
    module.zero_grad()
    F.cross_entropy(module(x), y).backward()
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained(module)])


def samples(module: str) -> tuple[Tensor, Tensor]:
    x, y, *_ = lookup("data", f"{module}:data")(seed=0)
    return x.double(), y


def used(landscape: Network) -> Tensor:
    module = landscape.module(torch.zeros(landscape.size))
    names = [name for name, p in module.named_parameters() for _ in range(p.numel() if p.requires_grad else 0)]
    return torch.tensor([name.partition(".")[0] not in ("spare", "never", "last") for name in names])


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_sums_minibatches_and_products(user_module: Any, net: str) -> None:
    module = user_module(SOURCE)
    landscape, (x, y) = made(module, net), samples(module)
    assert landscape.size == SIZES[net]
    theta = torch.randn(2, landscape.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shares = [landscape.sums(theta, share=(i, 3)) for i in range(3)]
    sums, minibatch = sum(shares), landscape.minibatches(["w0", "w1"], 14)(theta, 0)  # all, in another order
    for k, point in enumerate(theta):
        g = gradient(landscape.module(point), x, y)
        close(sums[k, :-3] / 14, g)
        close(landscape.grad(theta)[k], g)
        close(minibatch[k], g)
        assert not any(v[k, : landscape.size][~used(landscape)].any() for v in (*shares, minibatch))

    H = landscape.hvp_at(theta[0])(torch.eye(landscape.size, dtype=torch.float64))
    own = landscape.module(theta[0])
    loss = F.cross_entropy(own(x), y)
    g = torch.autograd.grad(loss, trained(own), create_graph=True, materialize_grads=True)
    for row, entry in enumerate(torch.cat([v.flatten() for v in g])):
        if not entry.requires_grad:
            assert not H[row].any() and not H[:, row].any()
            continue
        second = torch.autograd.grad(entry, trained(own), retain_graph=True, materialize_grads=True)
        close(H[row], torch.cat([v.flatten() for v in second]))
    assert not H[~used(landscape)].any() and not H[:, ~used(landscape)].any() and H[used(landscape)].any(1).all()


def test_a_run_is_what_torch_does_with_the_module(user_module: Any, net: str, tmp_path: Path) -> None:
    module = user_module(SOURCE)
    config = {
        "landscape": keys(module, net),
        "dtype": "float64",
        "walkers": 1,
        "coupling": None,
        "steps": 12,
        "dynamics": {"name": "sgd", "lr": 0.5, "momentum": 0.8, "batch_size": 14},
        "snapshots": {"every": 6},
    }
    run = wd.run(config, run_dir=tmp_path / "run", in_process=True, report=False)
    own, (x, y) = run.model(0, "w0"), samples(module)
    before = {name: v.clone() for name, v in own.state_dict().items()}
    optimizer = torch.optim.SGD(own.parameters(), lr=0.5, momentum=0.8)
    for t in range(12):
        close(run.snapshot(t, "w0"), flat(own)) if t % 6 == 0 else None
        optimizer.zero_grad()
        F.cross_entropy(own(x), y).backward()
        optimizer.step()
    close(run.snapshot(12, "w0"), flat(own))
    after = run.model(12, "w0").state_dict()
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == STILL[net]


def test_unused_parameters_never_move(user_module: Any, tmp_path: Path) -> None:
    """Not by momentum, not by the elastic force between walkers that start together, not in float32."""
    module = user_module(SOURCE)
    config = {
        "landscape": keys(module, "Unused"),
        "walkers": 3,
        "coupling": {"name": "easgd", "alpha": 0.2, "period": 2},
        "steps": 25,
        "dynamics": {"name": "sgd", "lr": 0.3, "momentum": 0.9, "batch_size": 4},
        "snapshots": {"every": 25},
    }
    run = wd.run(config, run_dir=tmp_path / "run", in_process=True, report=False)
    unused = ~used(made(module, "Unused"))
    for name in ("center", "w0", "w1", "w2"):
        before, after = run.snapshot(0, name), run.snapshot(25, name)
        assert torch.equal(before[unused], after[unused]) and (before != after)[~unused].all()
