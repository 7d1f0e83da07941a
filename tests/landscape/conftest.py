"""What the tests of the landscape share: modules as a user would write them, and the slow way to a gradient."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

UserModule = Callable[[str], str]


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UserModule]:
    """Write a module where it can be imported; returns its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def write(source: str) -> str:
        name = f"users_own_{len(made)}"
        (tmp_path / f"{name}.py").write_text(source)
        sys.modules.pop(name, None)
        made.append(name)
        return name

    yield write
    for name in made:
        sys.modules.pop(name, None)


@pytest.fixture
def fashion() -> None:
    """Fashion-MNIST as Debian packages it."""
    folder = Path("/usr/share/datasets/fashion-mnist")
    if not folder.is_dir():
        pytest.skip(f"Debian's package dataset-fashion-mnist is not installed: there is no {folder}")


@pytest.fixture
def slow() -> type[Slow]:
    return Slow


class Slow:
    """The loss of a torch module as a function of its flat parameters, one point at a time, by autograd alone."""

    def __init__(self, net: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], l2: float = 0.0) -> None:
        self.net, self.criterion, self.l2 = net, loss, l2
        self.parameters = {key: p for key, p in net.named_parameters() if p.requires_grad}

    def loss(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        parts, at = {}, 0
        for key, p in self.parameters.items():
            parts[key] = theta[at : at + p.numel()].reshape(p.shape)
            at += p.numel()
        assert at == len(theta)
        with sdpa_kernel(SDPBackend.MATH):  # the only attention that can be differentiated twice
            outputs = torch.func.functional_call(self.net, parts, (x,))
        return self.criterion(outputs, y) + self.l2 / 2 * theta @ theta

    def grad(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        point = theta.clone().requires_grad_(True)
        return torch.autograd.grad(self.loss(point, x, y), point)[0]

    def hvp(self, theta: Tensor, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        point = theta.clone().requires_grad_(True)
        (g,) = torch.autograd.grad(self.loss(point, x, y), point, create_graph=True)
        return torch.autograd.grad(g @ v, point)[0]
