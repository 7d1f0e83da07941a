"""The Hessian as an operator, against the dense autograd Hessian."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature import hessian, spectrum
from walkers_dist.landscape.base import Landscape


class TinyNet(Landscape):
    """The smallest landscape there is: a 3-4-2 tanh network on 20 samples, mean squared error."""

    size, dtype, device = 3 * 4 + 4 + 4 * 2 + 2, torch.float64, torch.device("cpu")

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(3)
        self.x = torch.randn(20, 3, generator=random, dtype=self.dtype)
        self.y = torch.randn(20, 2, generator=random, dtype=self.dtype)

    def value(self, theta: Tensor) -> Tensor:
        W1, b1, W2, b2 = theta.split([12, 4, 8, 2])
        hidden = torch.tanh(self.x @ W1.view(3, 4) + b1)
        return (hidden @ W2.view(4, 2) + b2 - self.y).square().mean()

    def loss(self, theta: Tensor, *, split: str = "train", walkers: object = None) -> Tensor:
        return torch.stack([self.value(row) for row in theta])

    def hvp_at(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        point = theta.requires_grad_()
        (grad,) = torch.autograd.grad(self.value(point), point, create_graph=True)

        def product(V: Tensor) -> Tensor:
            return torch.stack([torch.autograd.grad(grad, point, v, retain_graph=True)[0] for v in V])

        return product


def point() -> Tensor:
    return torch.randn(TinyNet.size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def test_hessian_is_that_of_autograd() -> None:
    landscape, theta = TinyNet(), point()
    dense = torch.autograd.functional.hessian(landscape.value, theta)
    H = hessian(landscape, theta)
    assert (H.size, H.dtype, H.device) == (26, torch.float64, torch.device("cpu"))
    V = torch.randn(5, 26, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(H(V), V @ dense, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(spectrum(H).eigenvalues, torch.linalg.eigvalsh(dense), rtol=0, atol=1e-12)
    assert not theta.requires_grad


def test_a_float32_point_is_measured_in_the_landscapes_dtype() -> None:
    landscape = TinyNet()
    H = hessian(landscape, point().float())
    assert H(torch.eye(26, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("shape", [(25,), (1, 26), ()])
def test_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"theta has shape .* a point of this landscape is \[26\]"):
        hessian(TinyNet(), torch.zeros(shape))
