"""A landscape of the user's own: `size` and `loss` are enough, the rest comes from automatic differentiation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import CustomLandscape
from walkers_dist.landscape import Landscape, build, stream

SOURCE = """
import torch
from walkers_dist import Landscape

class Valley(Landscape):
    \"\"\"sum_j (theta_j^4 / 4 + j theta_j theta_{j+1}) + bend sum theta\"\"\"
    def __init__(self, dim, bend):
        self.size, self.bend = dim, bend
    def loss(self, theta, *, split="train", walkers=None):
        weights = torch.arange(self.size - 1).to(theta)
        return theta.pow(4).sum(-1) / 4 + (weights * theta[:, :-1] * theta[:, 1:]).sum(-1) + self.bend * theta.sum(-1)

class Own(Valley):
    splits = ("train", "test")
    train_size = 40
    def loss(self, theta, *, split="train", walkers=None):
        shift = sum(float(name[1:]) for name in walkers) if walkers else 0
        return super().loss(theta) + shift + 100 * (split == "test")
    def accuracy(self, theta, *, split="train"):
        return (theta > 0).to(theta).mean(-1)
    def center_start(self):
        return torch.zeros(self.size)

def valley(seed, dtype, device, dim=4, bend=0.0):
    return Valley(dim, bend)

def own(seed, dtype, device):
    return Own(3, 0.0)

def plane(seed, dtype, device):
    class Plane(Valley):
        def loss(self, theta, **_):
            return theta @ torch.arange(self.size).to(theta)
    return Plane(4, 0.0)

def nothing(seed, dtype, device):
    return 3

def summed(seed, dtype, device):
    class Summed(Valley):
        def loss(self, theta, **_):
            return theta.square().sum()
    return Summed(4, 0.0)

def short(seed, dtype, device):
    class Short(Valley):
        def loss(self, theta):
            return theta.square().sum(1)
    return Short(4, 0.0)

def sizeless(seed, dtype, device):
    class Sizeless(Landscape):
        def loss(self, theta, **_):
            return theta.square().sum(1)
    return Sizeless()

def broken(seed, dtype, device):
    raise RuntimeError("no such valley")
"""


def made(module: str, function: str, dtype: str = "float64", **keys: Any) -> Landscape:
    return build(CustomLandscape.model_validate({"kind": f"{module}:{function}", **keys}), seed=5, dtype=dtype)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_size_and_loss_are_enough(user_module: Any) -> None:
    landscape = made(user_module(SOURCE), "valley", dim=5, bend=0.5)
    theta, V = normal(3, 5), normal(2, 5)
    weights = torch.arange(4, dtype=torch.float64)
    coupled = torch.diag(weights, 1) + torch.diag(weights, -1)
    g = theta**3 + theta @ coupled + 0.5
    torch.testing.assert_close(landscape.grad(theta), g, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(landscape.minibatches(["w0", "w1", "w2"], 10)(theta, 7), g, rtol=1e-13, atol=1e-13)
    H = torch.diag(3 * theta[0] ** 2) + coupled
    torch.testing.assert_close(landscape.hvp(theta[0], V), V @ H, rtol=1e-13, atol=1e-13)

    figures = landscape.figures(theta, landscape.sums(theta))
    torch.testing.assert_close(figures.loss, landscape.loss(theta))
    torch.testing.assert_close(figures.grad_norm, g.norm(dim=1))
    assert figures.accuracy.isnan().all() and landscape.steps_per_epoch(10) is None
    assert landscape.splits == ("train",) and landscape.center_start() is None


def test_points_are_left_alone(user_module: Any) -> None:
    """Walkers keep their points in one place: measuring there must not leave a mark."""
    landscape, theta = made(user_module(SOURCE), "valley"), normal(2, 4)
    before = theta.clone()
    for measure in (landscape.grad, landscape.sums, lambda X: landscape.hvp(X[0], X)):
        assert not measure(theta).requires_grad
        assert torch.equal(theta, before) and not theta.requires_grad and theta.grad is None


def test_sums_count_the_landscape_as_one_sample(user_module: Any) -> None:
    """Three processes, one of which answers for it: the sum is that of one."""
    landscape, theta = made(user_module(SOURCE), "own"), normal(2, 3)
    for split in landscape.splits:
        whole = landscape.sums(theta, split=split)
        parts = [landscape.sums(theta, split=split, share=(i, 3)) for i in range(3)]
        assert torch.equal(sum(parts[1:], parts[0]), whole) and whole[:, -1].tolist() == [1, 1]
        assert torch.equal(landscape.figures(theta, whole).accuracy, (theta > 0).double().mean(1))


def test_splits_walkers_and_starts(user_module: Any) -> None:
    landscape, theta = made(user_module(SOURCE), "own"), normal(2, 3)
    common = landscape.loss(theta)
    torch.testing.assert_close(landscape.loss(theta, split="test"), common + 100)
    sums = landscape.sums(theta, walkers=["w3", "w4"])
    torch.testing.assert_close(sums[:, -3], common + 7)
    assert landscape.steps_per_epoch(10) == 4
    expected = torch.randn(3, generator=stream(5, "w1", "init"))
    assert torch.equal(landscape.start("w1"), expected.double()) and landscape.center_start() is not None


def test_it_is_told_where_it_is(user_module: Any) -> None:
    landscape = made(user_module(SOURCE), "valley", dtype="float32")
    assert (landscape.seed, landscape.dtype, landscape.device) == (5, torch.float32, torch.device("cpu"))
    assert landscape.start("w0").dtype == torch.float32


def test_a_plane_has_no_curvature(user_module: Any) -> None:
    landscape = made(user_module(SOURCE), "plane")
    assert torch.equal(landscape.hvp(normal(4), normal(2, 4)), torch.zeros(2, 4, dtype=torch.float64))
    assert landscape.grad(normal(2, 4)).tolist() == [[0, 1, 2, 3]] * 2


def test_there_is_no_module(user_module: Any) -> None:
    with pytest.raises(UserError, match="a Valley landscape has no torch module"):
        made(user_module(SOURCE), "valley").module(normal(4))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("nothing", "it returned a int, and must return a Landscape"),
        ("summed", r"loss of points \[2, 4\] must be \[2\], and has shape \[\]"),
        ("short", r"TypeError: .*unexpected keyword argument"),
        ("sizeless", r"AttributeError: .*size"),
        ("broken", "RuntimeError: no such valley"),
        ("absent", "has no absent"),
    ],
)
def test_what_is_no_landscape(user_module: Any, function: str, says: str) -> None:
    with pytest.raises(UserError, match=f"landscape.kind = users_own_0:{function}: .*{says}"):
        made(user_module(SOURCE), function)


def test_arguments_that_do_not_fit(user_module: Any) -> None:
    with pytest.raises(UserError, match=r"landscape.kind = users_own_0:valley: TypeError: .*deep"):
        made(user_module(SOURCE), "valley", deep=3)
