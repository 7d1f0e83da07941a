"""H, G, R and the gradient covariance of landscapes, against Jacobians and Hessians by autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from walkers_dist.config.errors import UserError
from walkers_dist.curvature import Operator, gauss_newton, gradient_covariance, hessian, residual
from walkers_dist.landscape import network, products
from walkers_dist.landscape.data import Data
from walkers_dist.landscape.losses import CrossEntropy, Loss, SquaredError, UserLoss
from walkers_dist.landscape.mlp import MLP
from walkers_dist.landscape.module import ModuleModel
from walkers_dist.landscape.network import Network
from walkers_dist.landscape.quadratic import Quadratic

N, D, C, L2 = 13, 5, 3, 0.3
RANDOM = torch.Generator().manual_seed(8)
X = torch.randn(N, D, dtype=torch.float64, generator=RANDOM)
CLASS = torch.randint(0, C, (N,), generator=RANDOM)


def own(z: Tensor, y: Tensor) -> Tensor:
    """Not convex in the outputs."""
    return (z.sin().sum(-1) * (1 + y)).mean()


LOSSES: dict[str, Callable[[], Loss]] = {
    "cross entropy": CrossEntropy,
    "squared error": SquaredError,
    "a user's": lambda: UserLoss(own, "own"),
}
MLPS = ("relu", "tanh", "gelu")


def model_of(name: str) -> Any:
    if name in MLPS:
        return MLP([D, 4, 6, C], name)
    layers = lambda: nn.Sequential(  # noqa: E731
        nn.Unflatten(1, (1, D)), nn.Conv1d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(2 * (D - 1), C)
    )
    return ModuleModel(layers, "conv", X[:1], torch.Generator().manual_seed(2), torch.float64)


def surface(model: str, loss: str, l2: float = L2) -> tuple[Network, Tensor]:
    landscape = Network(
        model_of(model), LOSSES[loss](), Data(X, CLASS, X[:2], CLASS[:2]), l2=l2, seed=3, dtype=torch.float64
    )
    return landscape, landscape.start("w0")


class ByHand:
    """Dense answers from the torch module of a landscape."""

    def __init__(self, landscape: Network, theta: Tensor) -> None:
        self.net, self.loss, self.theta = landscape.module(theta), landscape.criterion, theta
        self.y, self.l2 = landscape.targets["train"], landscape.l2
        self.shapes = {name: p.shape for name, p in self.net.named_parameters()}

    def outputs(self, row: Tensor) -> Tensor:
        parts = row.split([shape.numel() for shape in self.shapes.values()])
        named = {key: part.view(shape) for (key, shape), part in zip(self.shapes.items(), parts, strict=True)}
        return torch.func.functional_call(self.net, named, (X,))

    def value(self, row: Tensor) -> Tensor:
        return self.loss.value(self.outputs(row)[None], self.y[None])[0] + self.l2 / 2 * row @ row

    def hessian(self) -> Tensor:
        return torch.autograd.functional.hessian(self.value, self.theta)

    def gauss_newton(self) -> Tensor:
        J = torch.autograd.functional.jacobian(self.outputs, self.theta).flatten(0, 1)
        z = self.outputs(self.theta).detach()
        outer = torch.autograd.functional.hessian(
            lambda flat: self.loss.value(flat.view(1, N, C), self.y[None])[0], z.flatten()
        )
        return J.T @ outer @ J + self.l2 * torch.eye(len(self.theta), dtype=torch.float64)

    def gradients(self) -> Tensor:
        def alone(row: Tensor) -> Tensor:
            z = self.outputs(row)
            parts = [self.loss.value(z[None, i : i + 1], self.y[None, i : i + 1])[0] for i in range(N)]
            return torch.stack(parts) + self.l2 / 2 * row @ row

        return torch.autograd.functional.jacobian(alone, self.theta)


def matrix(H: Operator) -> Tensor:
    return H.product(torch.eye(H.size, dtype=H.dtype))


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-12 * b.abs().max())


@pytest.fixture(autouse=True)
def several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "NUMBERS_AT_ONCE", 4 * 6 * 5)  # of the perceptrons: 4 directions, 6 units, 5 samples


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", [*MLPS, "conv"])
def test_gauss_newton_is_jacobians_around_the_losss_curvature(model: str, loss: str) -> None:
    landscape, theta = surface(model, loss)
    by_hand = ByHand(landscape, theta)
    H, G, R = (matrix(of(landscape, theta)) for of in (hessian, gauss_newton, residual))
    assert close(H, by_hand.hessian())
    assert close(G, by_hand.gauss_newton())
    assert close(G + R, H)
    without, _ = surface(model, loss, l2=0.0)
    assert close(matrix(residual(without, theta)), R)  # the penalty is G's


@pytest.mark.parametrize("l2", [0.0, L2])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", [*MLPS, "conv"])
def test_covariance_is_the_moment_of_the_samples_gradients(model: str, loss: str, l2: float) -> None:
    landscape, theta = surface(model, loss, l2)
    g = ByHand(landscape, theta).gradients()
    second = g.T @ g / N
    assert close(matrix(gradient_covariance(landscape, theta)), second)
    mean = g.mean(0)
    assert close(mean, landscape.grad(theta[None])[0])
    found = matrix(gradient_covariance(landscape, theta, centered=True))
    assert (found - (second - torch.outer(mean, mean))).abs().max() <= 1e-12 * second.abs().max()


@pytest.mark.parametrize("of", [hessian, gauss_newton, gradient_covariance])
def test_a_landscape_of_a_module_prepares_as_it_pays(
    of: Callable[..., Operator], monkeypatch: pytest.MonkeyPatch
) -> None:
    landscape, theta = surface("conv", "cross entropy")
    monkeypatch.setattr(network, "NUMBERS_AT_ONCE", (1 << 9) * 5)
    kept = matrix(of(landscape, theta))
    monkeypatch.setattr(products, "LINEAR_PAYS", 0.0)
    linear = matrix(of(landscape, theta))
    assert close(linear, kept)
    monkeypatch.setattr(products, "SHARE", 0.0)
    assert torch.equal(matrix(of(landscape, theta)), kept)  # made anew, never by the linear map


def test_dense_agrees_with_products() -> None:
    landscape, theta = surface("tanh", "cross entropy")
    for of in (hessian, gauss_newton, residual):
        H = of(landscape, theta)
        assert H.dense is not None
        assert close(H.dense(), matrix(H))


def test_products_repeat_to_the_bit_and_leave_directions_and_point_alone() -> None:
    landscape, theta = surface("gelu", "cross entropy")
    V = torch.randn(9, landscape.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before, point = V.clone(), theta.clone()
    for of in (hessian, gauss_newton, residual, gradient_covariance):
        H = of(landscape, theta)
        assert torch.equal(H(V), H(V))
    assert torch.equal(V, before)
    assert torch.equal(theta, point)


@pytest.mark.parametrize("model", ["tanh", "conv"])
def test_blocks_are_named_as_in_the_torch_module(model: str) -> None:
    landscape, theta = surface(model, "cross entropy")
    H = hessian(landscape, theta)
    named = landscape.module(theta).named_parameters()
    assert {key: (at.stop - at.start) for key, at in (H.blocks or {}).items()} == {k: p.numel() for k, p in named}
    whole, first = matrix(H), next(iter(H.blocks or {})).split(".")[0]
    layer = H.block(first)
    n = layer.size
    assert close(matrix(layer), whole[:n, :n])
    assert list(layer.blocks or {}) == [f"{first}.weight", f"{first}.bias"]
    assert close(matrix(layer.block(f"{first}.bias")), whole[n - len(whole[H.blocks[f"{first}.bias"]]) : n, :n][:, -len(
        whole[H.blocks[f"{first}.bias"]]) :])  # fmt: skip
    if H.dense is not None:
        assert layer.dense is not None
        assert close(layer.dense(), whole[:n, :n])


def test_a_point_that_is_not_finite_is_named_when_it_is_used() -> None:
    """A diverged walker must not stop the analysis of the others: making the operator raises nothing."""
    landscape, theta = surface("tanh", "cross entropy")
    theta[landscape.size - 1] = torch.inf
    H = hessian(landscape, theta)
    assert H.dense is None
    with pytest.raises(UserError, match=r"^parameter 5\.bias holds inf: there is no curvature at such a point$"):
        H(torch.ones(1, landscape.size, dtype=torch.float64))


@pytest.mark.parametrize("of", [gauss_newton, residual, gradient_covariance])
def test_a_surface_without_outputs_has_no_such_matrix(of: Callable[..., Operator]) -> None:
    with pytest.raises(UserError, match=r"a Quadratic landscape has no (outputs|samples)"):
        of(Quadratic(dim=3), torch.zeros(3))
