"""A network on a whole split: chunks and shares change nothing, starts are what they are said to be."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor

from walkers_dist.landscape import network
from walkers_dist.landscape.data import Data
from walkers_dist.landscape.losses import CrossEntropy
from walkers_dist.landscape.mlp import MLP
from walkers_dist.landscape.network import Network

TRAIN, TEST = 37, 11


class Counting(CrossEntropy):
    """Remembers on how many points and samples it was asked at once."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.asked.append((len(outputs), outputs.shape[1]))
        return super().value(outputs, targets)


def made(loss: CrossEntropy | None = None, l2: float = 0.1, **keys: object) -> Network:
    generator = torch.Generator().manual_seed(0)
    parts = []
    for n in (TRAIN, TEST):
        parts += [
            torch.randn(n, 4, dtype=torch.float64, generator=generator),
            torch.randint(3, (n,), generator=generator),
        ]
    return Network(MLP([4, 6, 3], "tanh"), loss or CrossEntropy(), Data(*parts), l2=l2, dtype=torch.float64, **keys)


def points(K: int, P: int) -> Tensor:
    return torch.randn(K, P, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def everything(landscape: Network, theta: Tensor) -> list[Tensor]:
    out = [landscape.hvp(theta[0], theta)]
    for split in landscape.splits:
        out += [landscape.loss(theta, split=split), landscape.accuracy(theta, split=split)]
        out += [landscape.grad(theta, split=split), landscape.sums(theta, split=split)]
    return out


@pytest.mark.parametrize(("numbers", "rows", "directions"), [(1, 1, 1), (100, 2, 3), (1 << 21, 4, 5), (37, 7, 2)])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, numbers: int, rows: int, directions: int) -> None:
    theta = points(7, made().size)
    whole = everything(made(), theta)
    monkeypatch.setattr(network, "NUMBERS_AT_ONCE", numbers)
    monkeypatch.setattr(network, "ROWS_AT_ONCE", rows)
    monkeypatch.setattr(Network, "DIRECTIONS_AT_ONCE", directions)
    counting = Counting()
    for a, b in zip(everything(made(counting), theta), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert max(K for K, _ in counting.asked) == min(rows, 7)
    fewest = 7 % rows or min(rows, 7)  # the last rows, which may take the most samples at once; the widest layer has 6
    assert max(B for _, B in counting.asked) == min(TRAIN, max(1, numbers // (6 * fewest)))


@settings(max_examples=30, deadline=None)
@given(shares=st.integers(1, 50), split=st.sampled_from(["train", "test"]))
def test_shares_add_up(shares: int, split: str) -> None:
    landscape = made()
    theta = points(2, landscape.size)
    whole = landscape.sums(theta, split=split)
    parts = [landscape.sums(theta, split=split, share=(i, shares)) for i in range(shares)]
    torch.testing.assert_close(torch.stack(parts).sum(0), whole, rtol=1e-12, atol=1e-12)
    samples = [part[0, -1].item() for part in parts]
    assert sum(samples) == {"train": TRAIN, "test": TEST}[split] and max(samples) - min(samples) <= 1


def test_figures_are_loss_gradient_norm_and_accuracy() -> None:
    landscape = made()
    theta = points(3, landscape.size)
    figures = landscape.figures(theta, landscape.sums(theta, split="test"))
    torch.testing.assert_close(figures.loss, landscape.loss(theta, split="test"), rtol=1e-13, atol=0)
    torch.testing.assert_close(figures.grad_norm, landscape.grad(theta, split="test").norm(dim=1), rtol=1e-13, atol=0)
    assert torch.equal(figures.accuracy, landscape.accuracy(theta, split="test"))


def test_a_diverged_row_spoils_no_other() -> None:
    landscape = made()
    theta = points(3, landscape.size)
    alone = landscape.grad(theta[[0, 2]]), landscape.loss(theta[[0, 2]])
    theta[1] = torch.nan
    torch.testing.assert_close(landscape.grad(theta)[[0, 2]], alone[0], rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(landscape.loss(theta)[[0, 2]], alone[1], rtol=1e-13, atol=0)
    assert landscape.loss(theta)[1].isnan()
    accuracy = landscape.accuracy(theta)  # nan has a largest entry too, which would make every sample of class 0 right
    assert accuracy.isnan().tolist() == [False, True, False]
    assert torch.equal(accuracy[[0, 2]], landscape.accuracy(theta[[0, 2]]))


# ---- starts -------------------------------------------------------------------------------------------------------


def large(**keys: object) -> Network:
    x, y = torch.zeros(2, 50), torch.tensor([0, 9])
    return Network(MLP([50, 80, 10]), CrossEntropy(), Data(x, y, x, y), **keys)


def test_torchs_own_ranges() -> None:
    """`torch.nn.Linear` draws weights and biases from U(-1, 1) / sqrt(fan in)."""
    theta = large(seed=3).start("w0")
    layers = {50: theta[: 80 * 51], 80: theta[80 * 51 :]}
    assert sum(map(len, layers.values())) == len(theta)
    for fan_in, values in layers.items():
        u = values.double().numpy() * math.sqrt(fan_in)
        assert abs(u).max() <= 1 and kstest(u, "uniform", (-1, 2)).pvalue > 1e-3
        assert kstest(u, "norm").pvalue < 1e-6  # the test does tell


def test_a_standard_deviation_of_ones_own() -> None:
    theta = large(init_std=0.2).start("w0").double().numpy()
    assert kstest(theta, "norm", (0, 0.2)).pvalue > 1e-3 and kstest(theta, "norm", (0, 0.23)).pvalue < 1e-3
    assert not large(init_std=0.0).start("w0").any()


@pytest.mark.parametrize("std", [None, 0.3])
def test_the_same_start_for_all(std: float | None) -> None:
    landscape = large(init_std=std)
    starts = [landscape.start(name) for name in ("w0", "w1", "w12", "center")]
    center = landscape.center_start()
    assert center is not None and all(torch.equal(theta, center) for theta in starts)
    assert not torch.equal(center, large(init_std=std, seed=1).start("w0"))


@pytest.mark.parametrize("std", [None, 0.3])
def test_a_start_for_each(std: float | None) -> None:
    landscape = large(init_std=std, same_start=False)
    starts = {name: landscape.start(name) for name in ("w0", "w1", "w12")}
    assert landscape.center_start() is None  # the mean of the walkers' starts
    assert all(torch.equal(landscape.start(name), theta) for name, theta in starts.items())
    assert len({theta.sum().item() for theta in starts.values()}) == 3


def test_starts_in_the_landscapes_precision() -> None:
    double = large(dtype=torch.float64)
    assert double.start("w0").dtype == torch.float64
    assert torch.equal(double.start("w0").float(), large().start("w0"))
