"""Where the bias of the output layer lies: it is found by its layer, and is nowhere where there is none.

E.2: the original damps the last ten numbers of a point, whatever they are.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from walkers_dist.config.landscape import NetworkConfig, QuadraticConfig
from walkers_dist.landscape import build
from walkers_dist.landscape.mlp import MLP
from walkers_dist.landscape.module import ModuleModel


def bias_of(make: Callable[[], nn.Module]) -> tuple[slice | None, Callable[[Tensor], nn.Module]]:
    model = ModuleModel(make, "my_nets:Net", torch.ones(2, 5)[:1], torch.Generator().manual_seed(0), torch.float32)
    return model.output_bias, model.module


def test_of_a_perceptron() -> None:
    mlp = MLP([5, 6, 4])
    point = torch.zeros(mlp.size)
    point[mlp.output_bias] = torch.tensor([1.0, 2, 3, 4])
    assert torch.equal(mlp.module(point)(torch.ones(1, 5)), torch.tensor([[1.0, 2, 3, 4]]))
    assert build(NetworkConfig()).output_bias == slice(64 * 30 + 30 + 30 * 30 + 30 + 30 * 10, 64 * 30 + 1260 + 10)
    assert build(QuadraticConfig()).output_bias is None


class Trunk(nn.Module):
    """The output layer is registered last, and `tail` makes the last numbers of a point other ones than its bias."""

    def __init__(self, **keys: bool) -> None:
        super().__init__()
        self.body = nn.Linear(5, 3)
        self.head = nn.Linear(3, 3, **keys)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(x)))


class BiasFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias, self.weight = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(3, 5))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


def tied() -> nn.Module:
    net = Trunk()
    net.head.bias = net.body.bias
    return net


def frozen(name: str) -> nn.Module:
    net = Trunk()
    net.get_parameter(name).requires_grad_(False)
    return net


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Trunk, slice(18 + 9, 18 + 12)),
        (BiasFirst, slice(0, 3)),  # its last three numbers are weights
        (tied, slice(15, 18)),
        (lambda: frozen("body.weight"), slice(3 + 9, 3 + 12)),
        (lambda: nn.Sequential(Trunk(), nn.Tanh()), slice(27, 30)),
        (lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.Linear(4, 2)), slice(28, 30)),
        (lambda: Trunk(bias=False), None),  # and not the bias of the layer before, of as many numbers
        (lambda: frozen("head.bias"), None),
        (lambda: nn.Sequential(nn.Linear(5, 4), nn.PReLU()), None),
        (lambda: nn.Sequential(nn.Linear(5, 6), nn.Unflatten(1, (2, 3))), None),
    ],
)
def test_of_a_module(make: Callable[[], nn.Module], expected: slice | None) -> None:
    assert bias_of(make)[0] == expected


def test_the_bias_is_what_the_slice_holds() -> None:
    where, module = bias_of(Trunk)
    assert where is not None
    point = torch.zeros(18 + 12)
    point[where] = torch.tensor([1.0, 2, 3])
    assert torch.equal(module(point).head.bias, torch.tensor([1.0, 2, 3]))
