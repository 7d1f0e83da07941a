"""The hand-written perceptron against `nn.Sequential` and autograd, one point at a time, in double precision."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from walkers_dist.landscape.data import Data
from walkers_dist.landscape.losses import CrossEntropy, Loss, SquaredError
from walkers_dist.landscape.mlp import MLP
from walkers_dist.landscape.network import Network

ACTIVATION = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}
HIDDEN = {"none": [], "one": [6], "three": [6, 7, 3]}
INPUTS, OUTPUTS, K = 5, 4, 3
TRAIN, TEST = 17, 9


def half_square(outputs: Tensor, y: Tensor) -> Tensor:
    targets = y if y.is_floating_point() else F.one_hot(y, OUTPUTS).double()
    return sum(((z - t) ** 2).sum() / 2 for z, t in zip(outputs, targets, strict=True)) / len(outputs)


LOSSES: dict[str, tuple[type[Loss], Any, str]] = {
    "cross_entropy": (CrossEntropy, F.cross_entropy, "labels"),
    "cross_entropy of probabilities": (CrossEntropy, F.cross_entropy, "probabilities"),
    "squared_error of labels": (SquaredError, half_square, "labels"),
    "squared_error": (SquaredError, half_square, "real"),
}


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def targets(kind: str, n: int, seed: int) -> Tensor:
    if kind == "labels":
        return torch.randint(OUTPUTS, (n,), generator=torch.Generator().manual_seed(seed))
    y = normal(n, OUTPUTS, seed=seed)
    return y.softmax(1) if kind == "probabilities" else y


def sequential(hidden: list[int], activation: str) -> nn.Sequential:
    sizes = [INPUTS, *hidden, OUTPUTS]
    layers: list[nn.Module] = []
    for into, out in pairwise(sizes):
        layers += [nn.Linear(into, out, dtype=torch.float64), ACTIVATION[activation]()]
    return nn.Sequential(*layers[:-1])


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.fixture(params=LOSSES)
def loss(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=HIDDEN)
def hidden(request: pytest.FixtureRequest) -> list[int]:
    return HIDDEN[request.param]


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("activation", ACTIVATION)
def test_against_autograd(slow: Any, loss: str, hidden: list[int], activation: str, l2: float) -> None:
    made, by_hand, kind = LOSSES[loss]
    data = Data(
        normal(TRAIN, INPUTS, seed=1), targets(kind, TRAIN, 2), normal(TEST, INPUTS, seed=3), targets(kind, TEST, 4)
    )
    landscape = Network(MLP([INPUTS, *hidden, OUTPUTS], activation), made(), data, l2=l2, dtype=torch.float64)
    oracle = slow(sequential(hidden, activation), by_hand, l2)
    theta = normal(K, landscape.size, seed=5)
    V = normal(4, landscape.size, seed=6)

    for split in ("train", "test"):
        x, y = data.split(split)
        losses, gradients = landscape.loss(theta, split=split), landscape.grad(theta, split=split)
        for k in range(K):
            close(losses[k], oracle.loss(theta[k], x, y))
            close(gradients[k], oracle.grad(theta[k], x, y))

        outputs = [landscape.module(point)(x) for point in theta]
        right = [sum(int(z.argmax()) == int(t if t.ndim == 0 else t.argmax()) for z, t in zip(o, y, strict=True))
                 for o in outputs]  # fmt: skip
        if kind == "real":
            assert landscape.accuracy(theta, split=split).isnan().all()
        else:
            assert landscape.accuracy(theta, split=split).tolist() == [n / len(x) for n in right]

    HV = landscape.hvp(theta[0], V)
    for v, Hv in zip(V, HV, strict=True):
        close(Hv, oracle.hvp(theta[0], v, data.x_train, data.y_train))


@pytest.mark.parametrize("activation", ACTIVATION)
def test_the_hessian_is_symmetric_and_prepared_once(activation: str) -> None:
    data = Data(*(f(n, seed) for n, seed in ((TRAIN, 1), (TEST, 2))
                  for f in (lambda n, s: normal(n, INPUTS, seed=s), lambda n, s: targets("labels", n, s))))  # fmt: skip
    landscape = Network(MLP([INPUTS, 6, 7, OUTPUTS], activation), CrossEntropy(), data, dtype=torch.float64)
    theta = normal(landscape.size, seed=5)
    product = landscape.hvp_at(theta)
    H = product(torch.eye(landscape.size, dtype=torch.float64))
    close(H, H.T)
    theta.zero_()  # the product belongs to the point it was prepared at
    close(product(torch.eye(landscape.size, dtype=torch.float64)[:2]), H[:2])


def test_images_are_flattened() -> None:
    x, y = normal(TRAIN, 1, INPUTS, 1, seed=1), targets("labels", TRAIN, 2)
    images = Network(MLP([INPUTS, 6, OUTPUTS]), CrossEntropy(), Data(x, y, x, y), dtype=torch.float64)
    flat = Network(MLP([INPUTS, 6, OUTPUTS]), CrossEntropy(), Data(x.flatten(1), y, x, y), dtype=torch.float64)
    theta, V = normal(2, flat.size, seed=3), normal(2, flat.size, seed=4)
    for a, b in zip(*([L.loss(theta), L.grad(theta), L.hvp(theta[0], V)] for L in (images, flat)), strict=True):
        assert torch.equal(a, b)
    close(F.cross_entropy(images.module(theta[0])(x), y), images.loss(theta)[0])


def test_a_module_of_its_own() -> None:
    x, y = normal(TRAIN, INPUTS, seed=1), targets("labels", TRAIN, 2)
    landscape = Network(MLP([INPUTS, 6, OUTPUTS]), CrossEntropy(), Data(x, y, x, y), dtype=torch.float64)
    theta = normal(landscape.size, seed=3)
    before = theta.clone()
    net = landscape.module(theta)
    assert torch.equal(torch.cat([p.detach().flatten() for p in net.parameters()]), theta)
    assert all(p.requires_grad for p in net.parameters())
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    assert torch.equal(theta, before)
