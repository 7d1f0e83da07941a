"""Which samples a walker sees: its own order, a new one every epoch, whatever process it is in."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from walkers_dist.config.errors import UserError
from walkers_dist.landscape import network
from walkers_dist.landscape.data import Data
from walkers_dist.landscape.losses import CrossEntropy, SquaredError
from walkers_dist.landscape.mlp import MLP
from walkers_dist.landscape.network import Network


def order_by_hand(seed: int, walker: str, epoch: int, samples: int) -> list[int]:
    digest = hashlib.blake2b(f"{seed}/{walker}/order/{epoch}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
    return torch.randperm(samples, generator=generator).tolist()


def transparent(samples: int, seed: int = 0) -> Network:
    """Its gradient shows the samples: inputs are unit vectors, so at 0 it is -1/B at those of the minibatch."""
    x, y = torch.eye(samples), torch.ones(samples, 1)
    return Network(MLP([samples, 1]), SquaredError(), Data(x, y, x, y), seed=seed)


def seen(landscape: Network, walkers: list[str], batch_size: int, steps: range) -> list[list[set[int]]]:
    """For every step and walker, the samples of its minibatch."""
    minibatch = landscape.minibatches(walkers, batch_size)
    X = torch.zeros(len(walkers), landscape.size)
    found = []
    for t in steps:
        weights = minibatch(X, t)[:, :-1]
        torch.testing.assert_close(weights[weights != 0], torch.full((len(walkers) * batch_size,), -1 / batch_size))
        found.append([set(row.nonzero().flatten().tolist()) for row in weights])
    return found


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_an_epoch_is_the_data_set_in_each_walkers_own_order(draw: st.DataObject) -> None:
    samples = draw.draw(st.integers(1, 25), "samples")
    batch_size = draw.draw(st.integers(1, samples), "batch_size")
    seed = draw.draw(st.integers(0, 5), "seed")
    walkers = [f"w{i}" for i in draw.draw(st.lists(st.integers(0, 20), min_size=1, max_size=4, unique=True), "walkers")]
    per_epoch = samples // batch_size
    landscape = transparent(samples, seed)
    assert landscape.steps_per_epoch(batch_size) == per_epoch
    got = seen(landscape, walkers, batch_size, range(2 * per_epoch))
    for k, walker in enumerate(walkers):
        for epoch in range(2):
            order = order_by_hand(seed, walker, epoch, samples)
            batches = [set(order[n * batch_size : (n + 1) * batch_size]) for n in range(per_epoch)]
            assert [step[k] for step in got[epoch * per_epoch : (epoch + 1) * per_epoch]] == batches
            assert len(set.union(*batches)) == per_epoch * batch_size  # each at most once; all, if B divides N


def test_walkers_and_epochs_and_seeds_differ() -> None:
    first = {
        (seed, walker, epoch): tuple(seen(transparent(60, seed), [walker], 20, range(3 * epoch, 3 * epoch + 1))[0][0])
        for seed in range(2) for walker in ("w0", "w1", "w10") for epoch in range(3)
    }  # fmt: skip
    assert len(set(first.values())) == len(first)


def test_a_walker_sees_the_same_in_any_process_and_after_any_jump() -> None:
    landscape = transparent(30)
    together = seen(landscape, ["w0", "w1", "w2"], 7, range(12))
    for k, walker in enumerate(("w0", "w1", "w2")):
        assert seen(landscape, [walker], 7, range(12)) == [[step[k]] for step in together]
    minibatch, X = landscape.minibatches(["w1"], 7), torch.zeros(1, landscape.size)
    for t in (11, 0, 5, 4, 11):
        assert set(minibatch(X, t)[0, :-1].nonzero().flatten().tolist()) == together[t][1]


@pytest.mark.parametrize("l2", [0.0, 0.2])
@pytest.mark.parametrize(("samples", "batch_size"), [(23, 5), (20, 20), (6, 1)])
def test_gradients_of_rows_are_those_of_each_alone(slow: Any, samples: int, batch_size: int, l2: float) -> None:
    """Against autograd on exactly the samples of each walker's order."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 4, dtype=torch.float64, generator=generator)
    y = torch.randint(3, (samples,), generator=generator)
    landscape = Network(MLP([4, 5, 3], "tanh"), CrossEntropy(), Data(x, y, x, y), l2=l2, seed=7, dtype=torch.float64)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    oracle = slow(net, F.cross_entropy, l2)
    walkers = ["w3", "w0", "w11"]
    X = torch.randn(3, landscape.size, dtype=torch.float64, generator=generator)
    minibatch = landscape.minibatches(walkers, batch_size)
    per_epoch = samples // batch_size
    for t in range(2 * per_epoch + 1):
        g = minibatch(X, t)
        for k, walker in enumerate(walkers):
            epoch, number = divmod(t, per_epoch)
            chosen = order_by_hand(7, walker, epoch, samples)[number * batch_size : (number + 1) * batch_size]
            torch.testing.assert_close(g[k], oracle.grad(X[k], x[chosen], y[chosen]), rtol=1e-12, atol=1e-12)
        X.sub_(g, alpha=0.1)  # moved in place: what was bound once sees it


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_rows_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    landscape, walkers = transparent(30), [f"w{i}" for i in range(5)]
    X = torch.randn(5, landscape.size, generator=torch.Generator().manual_seed(0))
    together = [landscape.minibatches(walkers, 7)(X, t).clone() for t in range(6)]
    monkeypatch.setattr(network, "STEP_AT_ONCE", rows * (2 * landscape.size + 7 * 30))
    minibatch = landscape.minibatches(walkers, 7)
    for t in range(6):
        torch.testing.assert_close(minibatch(X, t), together[t])


def test_two_places_may_hold_rows() -> None:
    """A look-ahead asks for gradients at a second matrix, beside the first."""
    landscape = transparent(10)
    minibatch = landscape.minibatches(["w0"], 10)
    a, b = torch.zeros(1, landscape.size), torch.ones(1, landscape.size)
    at_a = minibatch(a, 0).clone()
    torch.testing.assert_close(minibatch(b, 0)[:, :-1], torch.full((1, 10), (2 - 1) / 10))
    assert torch.equal(minibatch(a, 0), at_a)


def test_the_whole_set_where_no_batch_size_is_given() -> None:
    landscape, X = transparent(11), torch.ones(2, 12)
    got: Tensor = landscape.minibatches(["w0", "w1"], None)(X, 3)
    assert torch.equal(got, landscape.grad(X))
    assert landscape.steps_per_epoch(None) == 1


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(UserError, match=r"dynamics.batch_size = 12: there are only 11 training samples"):
        transparent(11).steps_per_epoch(12)
