"""Losses against loops over samples and torch's own, and the one line for targets that do not fit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from walkers_dist.config.errors import UserError
from walkers_dist.landscape.data import Data
from walkers_dist.landscape.losses import CrossEntropy, Loss, SquaredError, UserLoss
from walkers_dist.landscape.mlp import MLP
from walkers_dist.landscape.network import Network

C = 3


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def by_hand(loss: Loss, z: list[float], t: list[float]) -> float:
    if isinstance(loss, SquaredError):
        return sum((a - b) ** 2 for a, b in zip(z, t, strict=True)) / 2
    log_sum = math.log(sum(math.exp(a) for a in z))
    return -sum(b * (a - log_sum) for a, b in zip(z, t, strict=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(0, 1000), st.floats(0.1, 20))
@pytest.mark.parametrize("loss", [CrossEntropy(), SquaredError()])
def test_value_gradient_and_curvature(loss: Loss, K: int, B: int, seed: int, scale: float) -> None:
    z, y = normal(K, B, C, seed=seed, scale=scale), normal(B, C, seed=seed + 1).softmax(-1)
    targets = loss.targets(y, (C,), torch.float64)[None]
    value = loss.value(z, targets)
    for k in range(K):
        each = [by_hand(loss, z[k, b].tolist(), y[b].tolist()) for b in range(B)]
        assert value[k].item() == pytest.approx(sum(each) / B, rel=1e-11, abs=1e-13)
    close(loss.gradient(z, targets), Loss.gradient(loss, z, targets))  # by hand, and by autograd of the value
    dz = normal(4, B, C, seed=seed + 2)
    close(loss.curvature(z[:1], targets)(dz), Loss.curvature(loss, z[:1], targets)(dz))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_of_any_integer_type(dtype: torch.dtype) -> None:
    z, y = normal(2, 5, C), torch.tensor([0, 2, 1, 1, 2])
    for loss in (CrossEntropy(), SquaredError()):
        targets = loss.targets(y.to(dtype), (C,), torch.float64)
        assert targets.tolist() == [[float(c == label) for c in range(C)] for label in y.tolist()]
        assert loss.correct(z, targets[None]).tolist() == [(row.argmax(1) == y).sum().item() for row in z]
    close(CrossEntropy().value(z, targets[None]), torch.stack([F.cross_entropy(row, y) for row in z]))


def test_an_outlying_output_overflows_nothing() -> None:
    z = torch.tensor([[[1000.0, 0.0, -1000.0]]])
    targets = torch.tensor([[[0.0, 0.0, 1.0]]])
    assert CrossEntropy().value(z, targets).item() == 2000
    assert CrossEntropy().gradient(z, targets).tolist() == [[[1.0, 0.0, -1.0]]]


@pytest.mark.parametrize("loss", [CrossEntropy(), SquaredError()])
@pytest.mark.parametrize(
    ("y", "says"),
    [
        (torch.tensor([0, 3]), r"labels go up to 3, but the model has 3 outputs"),
        (torch.tensor([-1, 1]), r"labels go down to -1"),
        (torch.zeros(2, 2), r"targets of shape \[N, 2\] do not fit outputs of shape \[N, 3\]"),
        (torch.zeros(2), r"targets of shape \[N\] do not fit outputs of shape \[N, 3\]"),
    ],
)
def test_targets_that_do_not_fit(loss: Loss, y: Tensor, says: str) -> None:
    name = "cross_entropy" if isinstance(loss, CrossEntropy) else "squared_error"
    with pytest.raises(UserError, match=f"landscape.loss = {name}: {says}"):
        loss.targets(y, (C,), torch.float32)


def test_cross_entropy_is_of_probabilities() -> None:
    """Its gradient softmax(z) - t is that of the value only where t sums to one."""
    CrossEntropy().targets(torch.tensor([[0.3, 0.7, 0.0]]), (C,), torch.float32)
    for y in ([[0.0, 1.0, 1.0]], [[0.1, 0.2, 0.3]], [[0.5, 0.5, math.nan]]):
        with pytest.raises(UserError, match=r"landscape.loss = cross_entropy: .*sum to 1"):
            CrossEntropy().targets(torch.tensor(y), (C,), torch.float32)


# ---- a loss of the user's own ----------------------------------------------------------------------------------------


def focal(outputs: Tensor, targets: Tensor) -> Tensor:
    p = outputs.log_softmax(-1).gather(-1, targets[:, None]).exp()
    return -((1 - p) ** 2 * p.log()).mean()


def network(loss: Loss, y: Tensor, outputs: int = C) -> tuple[Network, Tensor]:
    x = normal(len(y), 4, seed=7)
    return Network(MLP([4, 5, outputs], "gelu"), loss, Data(x, y, x, y), l2=0.2, dtype=torch.float64), x


def test_a_users_loss_against_autograd(slow: Any) -> None:
    y = torch.arange(11) % C
    landscape, x = network(UserLoss(focal, "my_loss:focal"), y)
    theta, V = normal(3, landscape.size), normal(2, landscape.size, seed=1)
    oracle = slow(landscape.module(theta[0]), focal, 0.2)
    for k in range(3):
        close(landscape.loss(theta)[k], oracle.loss(theta[k], x, y))
        close(landscape.grad(theta)[k], oracle.grad(theta[k], x, y))
        right = (landscape.module(theta[k])(x).argmax(1) == y).sum().item()
        assert landscape.accuracy(theta)[k].item() == right / 11
    for v, Hv in zip(V, landscape.hvp(theta[0], V), strict=True):
        close(Hv, oracle.hvp(theta[0], v, x, y))
    batch = landscape.minibatches(["w0", "w1", "w2"], 11)(theta, 0)
    close(batch, landscape.grad(theta))


def test_a_users_loss_of_real_targets_has_no_accuracy() -> None:
    landscape, _ = network(UserLoss(lambda z, t: (z - t).abs().mean(), "my_loss:l1"), normal(6, C))
    theta = normal(2, landscape.size)
    assert landscape.accuracy(theta).isnan().all() and landscape.loss(theta).isfinite().all()
    assert landscape.hvp(theta[0], theta).isfinite().all()


def test_a_loss_that_is_linear_in_the_outputs(slow: Any) -> None:
    """Its own second derivative is zero; that of the network is not."""
    y = torch.arange(6) % C

    def margin(outputs: Tensor, targets: Tensor) -> Tensor:
        return -outputs.gather(1, targets[:, None]).mean()

    landscape, x = network(UserLoss(margin, "my_loss:margin"), y)
    theta, V = normal(landscape.size), normal(2, landscape.size, seed=1)
    oracle = slow(landscape.module(theta), margin, 0.2)
    for v, Hv in zip(V, landscape.hvp(theta, V), strict=True):
        close(Hv, oracle.hvp(theta, v, x, y))


@pytest.mark.parametrize("reduction", ["none", "one number too many"])
def test_a_users_loss_that_is_no_mean(reduction: str) -> None:
    def wrong(outputs: Tensor, targets: Tensor) -> Tensor:
        value = F.cross_entropy(outputs, targets, reduction="none")
        return value if reduction == "none" else value.mean()[None]

    with pytest.raises(UserError, match=r"landscape.loss = my_loss:wrong: it must return one number.*shape \[[12]\]"):
        network(UserLoss(wrong, "my_loss:wrong"), torch.arange(6) % C)
