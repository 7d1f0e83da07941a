"""Soups, ensembles and disagreement, against plain loops over walkers, samples and torch modules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.landscape import build, network
from walkers_dist.landscape.base import Landscape
from walkers_dist.landscape.data import Data
from walkers_dist.landscape.losses import CrossEntropy, Loss, SquaredError, UserLoss
from walkers_dist.landscape.mlp import MLP
from walkers_dist.landscape.network import Network
from walkers_dist.landscape.quadratic import Quadratic
from walkers_dist.probes.average import Average, disagreement, greedy
from walkers_dist.probes.figures import values_of
from walkers_dist.records.tables import COLUMNS, VALUES

STEP = 700
TRAIN, TEST, C = 37, 23, 3
Found = dict[str, dict[str, Any]]


class Points:
    """Snapshots that hold these points at every step; the last is the center."""

    def __init__(self, X: Tensor) -> None:
        self.X, self.names, self.steps = X, ["center", *(f"w{i}" for i in range(len(X) - 1))], [STEP]

    def points(self, step: int, names: Sequence[str]) -> Tensor:
        return self.X[[self.names.index(name) for name in names]]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(value: float, exact: float) -> None:
    assert value == pytest.approx(exact, rel=1e-11, abs=1e-13)


def rows_of(probe: Average, landscape: Landscape, X: Tensor) -> Found:
    (rows,) = probe.measure(landscape, Points(X), STEP, 0).values()
    named = [dict(zip(COLUMNS["averages"], row, strict=True)) for row in rows]
    assert all(row["step"] == STEP for row in named)
    return {row["kind"]: row for row in named}


def labels(n: int, seed: int) -> Tensor:
    return torch.randint(C, (n,), generator=torch.Generator().manual_seed(seed))


def made(loss: Loss, y: Callable[[int, int], Tensor] = labels, l2: float = 0.0) -> tuple[Network, Data]:
    data = Data(normal(TRAIN, 4, seed=1), y(TRAIN, 2), normal(TEST, 4, seed=3), y(TEST, 4))
    return Network(MLP([4, 6, C], "tanh"), loss, data, l2=l2, dtype=torch.float64), data


def outputs_of(landscape: Network, X: Tensor, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [landscape.module(theta)(x) for theta in X]


def disagreement_by_loops(outputs: list[Tensor]) -> float:
    classes = [z.argmax(1).tolist() for z in outputs]
    shares = [sum(i != j for i, j in zip(a, b, strict=True)) / len(a) for a, b in itertools.combinations(classes, 2)]
    return sum(shares) / len(shares)


# ---- soups -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(K=st.integers(1, 7), dim=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_greedy_as_a_plain_loop(K: int, dim: int, seed: int) -> None:
    bowl = Quadratic(dim=dim, curvature=normal(dim, seed=seed).abs().tolist())
    X = normal(K, dim, seed=seed + 1)

    def loss(points: list[Tensor]) -> float:
        return bowl.loss((sum(points[1:], points[0]) / len(points))[None]).item()

    order = sorted(range(K), key=lambda k: loss([X[k]]))
    soup, least = [order[0]], loss([X[order[0]]])
    for k in order[1:]:
        mixed = loss([*(X[j] for j in soup), X[k]])
        if mixed <= least:
            soup.append(k)
            least = mixed
    found = greedy(X, range(K), bowl.loss)
    assert found == soup
    assert loss([X[k] for k in found]) <= min(loss([x]) for x in X) + 1e-15


def test_greedy_by_hand() -> None:
    """From -1, the best, 2 leads past nothing (1/2), 3 would lead to 4/3, and -4 to -1."""
    X = torch.tensor([[3.0], [-1.0], [2.0], [-4.0]])
    assert greedy(X, [0, 1, 2, 3], Quadratic(dtype=torch.float32).loss) == [1, 2]
    assert greedy(X, [0, 3], Quadratic(dtype=torch.float32).loss) == [0, 3]  # their mean is at -1/2
    assert greedy(X[[1, 1]], [0, 1], Quadratic(dtype=torch.float32).loss) == [0, 1]  # it does not rise


def test_soups_of_a_network() -> None:
    landscape, _ = made(CrossEntropy(), l2=0.1)
    X = 0.3 * normal(5, landscape.size)
    X[4] += 20 * normal(landscape.size, seed=9)  # one that spoils the uniform soup
    rows = rows_of(Average(), landscape, X)
    assert list(rows) == ["uniform", "greedy", "ensemble"]
    chosen = [f"w{k}" for k in greedy(X[1:], range(4), landscape.loss)]
    assert rows["uniform"]["members"] == rows["ensemble"]["members"] == "w0 w1 w2 w3"
    assert rows["greedy"]["members"] == " ".join(chosen) and "w3" not in chosen and len(chosen) > 1
    for kind in ("uniform", "greedy"):
        members = [int(name[1:]) + 1 for name in rows[kind]["members"].split()]
        mean = sum(X[k] for k in members) / len(members)
        for split in ("train", "test"):
            close(rows[kind][f"{split}_loss"], landscape.loss(mean[None], split=split).item())
            close(rows[kind][f"{split}_accuracy"], landscape.accuracy(mean[None], split=split).item())
    assert rows["greedy"]["train_loss"] <= landscape.loss(X[1:]).min() < rows["uniform"]["train_loss"]
    assert rows["greedy"]["disagreement"] < rows["uniform"]["disagreement"] == rows["ensemble"]["disagreement"]


def test_a_soup_goes_by_training_loss() -> None:
    """Test data has no say in who is a member: other test data, same soup."""
    landscape, data = made(CrossEntropy())
    other = Network(landscape.net, CrossEntropy(), Data(data.x_train, data.y_train, -data.x_test, data.y_test))
    other.dtype = torch.float64
    other.targets = {split: t.double() for split, t in other.targets.items()}
    for seed in range(5):
        X = 0.5 * normal(6, landscape.size, seed=seed)
        one, two = (rows_of(Average(kinds=("greedy",)), surface, X)["greedy"] for surface in (landscape, other))
        assert one["members"] == two["members"] and one["test_loss"] != two["test_loss"]


# ---- ensembles -------------------------------------------------------------------------------------------------------


def soft(n: int, seed: int) -> Tensor:
    return normal(n, C, seed=seed).softmax(-1)


@pytest.mark.parametrize("y", [labels, soft])
def test_ensemble_of_probabilities(y: Callable[[int, int], Tensor]) -> None:
    landscape, data = made(CrossEntropy(), y)
    X = 2 * normal(5, landscape.size)
    row = rows_of(Average(), landscape, X)["ensemble"]
    for split in ("train", "test"):
        x, t = data.split(split)
        p = sum(z.softmax(-1) for z in outputs_of(landscape, X[1:], x)) / 4
        target = F.one_hot(t, C).double() if y is labels else t
        close(row[f"{split}_loss"], -(target * p.log()).sum(1).mean().item())
        close(row[f"{split}_accuracy"], (p.argmax(1) == target.argmax(1)).double().mean().item())
    close(row["disagreement"], disagreement_by_loops(outputs_of(landscape, X[1:], data.x_test)))


def test_ensemble_of_outputs() -> None:
    landscape, data = made(SquaredError())
    X = normal(4, landscape.size)
    row = rows_of(Average(), landscape, X)["ensemble"]
    for split in ("train", "test"):
        x, t = data.split(split)
        z = sum(outputs_of(landscape, X[1:], x)) / 3
        close(row[f"{split}_loss"], ((z - F.one_hot(t, C)) ** 2).sum(1).mean().item() / 2)
        close(row[f"{split}_accuracy"], (z.argmax(1) == t).double().mean().item())
    close(row["disagreement"], disagreement_by_loops(outputs_of(landscape, X[1:], data.x_test)))


def test_ensemble_under_a_users_loss() -> None:
    landscape, data = made(UserLoss(lambda z, t: nn.functional.multi_margin_loss(z, t), "my_loss:margin"))
    X = normal(4, landscape.size)
    row = rows_of(Average(), landscape, X)["ensemble"]
    z = sum(outputs_of(landscape, X[1:], data.x_train)) / 3
    close(row["train_loss"], nn.functional.multi_margin_loss(z, data.y_train).item())
    close(row["train_accuracy"], (z.argmax(1) == data.y_train).double().mean().item())


def test_real_targets_have_no_classes() -> None:
    landscape, _ = made(SquaredError(), lambda n, seed: normal(n, C, seed=seed))
    rows = rows_of(Average(), landscape, normal(4, landscape.size))
    assert list(rows) == ["uniform", "greedy", "ensemble"]
    for row in rows.values():
        assert row["disagreement"] is row["train_accuracy"] is row["test_accuracy"] is None
        assert math.isfinite(row["test_loss"])


@pytest.mark.parametrize("l2", [0.0, 0.5])
@pytest.mark.parametrize("loss", [CrossEntropy, SquaredError])
def test_an_ensemble_of_one_is_that_walker(loss: type[Loss], l2: float) -> None:
    """Also with a penalty, which is part of the surface; and nobody is there to disagree with."""
    landscape, _ = made(loss(), l2=l2)
    X = normal(2, landscape.size)
    for row in rows_of(Average(), landscape, X).values():
        assert row["members"] == "w0" and row["disagreement"] is None
        assert [row[column] for column in VALUES] == pytest.approx(values_of(landscape, X[1:])[0], rel=1e-12)


def test_an_ensemble_is_no_worse_than_its_members_on_average() -> None:
    """Jensen, for a loss that is convex in what is averaged, whatever the penalty."""
    for loss in (CrossEntropy(), SquaredError()):
        landscape, _ = made(loss, l2=0.2)
        for seed in range(10):
            X = normal(5, landscape.size, seed=seed)
            found = landscape.ensemble(X)
            assert found is not None and found[0] <= landscape.loss(X).mean().item()


def test_members_that_are_sure_of_something_else() -> None:
    """Their probabilities of the label are zero in double precision, the loss of their mean is not infinite."""
    z = torch.tensor([[[2000.0, 0.0, 0.0]], [[0.0, 2000.0, 0.0]]], dtype=torch.float64)
    mean = CrossEntropy().mean_output(z)
    targets = F.one_hot(torch.tensor([[2]]), 3).double()
    assert CrossEntropy().value(mean, targets).item() == pytest.approx(2000)
    assert CrossEntropy().value(mean, F.one_hot(torch.tensor([[1]]), 3).double()).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(("numbers", "rows"), [(1, 1), (100, 2), (37 * 6, 16)])
def test_a_few_samples_at_a_time(monkeypatch: pytest.MonkeyPatch, numbers: int, rows: int) -> None:
    landscape, _ = made(CrossEntropy(), l2=0.1)
    X = normal(6, landscape.size)
    whole, asked = rows_of(Average(), landscape, X), []
    mean_output = landscape.criterion.mean_output

    def watched(outputs: Tensor) -> Tensor:
        asked.append(outputs.shape[1])
        return mean_output(outputs)

    monkeypatch.setattr(landscape.criterion, "mean_output", watched)
    monkeypatch.setattr(network, "NUMBERS_AT_ONCE", numbers)
    monkeypatch.setattr(network, "ROWS_AT_ONCE", rows)
    for kind, row in rows_of(Average(), landscape, X).items():
        assert row["members"] == whole[kind]["members"] and row["disagreement"] == whole[kind]["disagreement"]
        for column in VALUES:
            close(row[column], whole[kind][column])
    assert sum(asked) == TRAIN + TEST and max(asked) <= max(1, numbers // (5 * 6))


def test_a_users_module() -> None:
    """One whose points are taken one at a time."""
    data = {"name": "digits", "train_size": 50, "test_size": 30}
    keys = {"kind": "network", "data": data, "model": {"name": "lenet", "kernel": 3, "padding": 1}}
    config = parse({"landscape": keys, "dynamics": {"batch_size": 10}}, "test")
    landscape = build(config.landscape, seed=0, dtype=torch.float64, device=torch.device("cpu"))
    assert isinstance(landscape, Network)
    X = torch.stack([landscape.start("w0") + 0.1 * normal(landscape.size, seed=seed) for seed in range(4)])
    row = rows_of(Average(), landscape, X)["ensemble"]
    outputs = outputs_of(landscape, X[1:], landscape.inputs["test"])
    p = sum(z.softmax(-1) for z in outputs) / 3
    close(row["test_loss"], -(landscape.targets["test"] * p.log()).sum(1).mean().item())
    close(row["disagreement"], disagreement_by_loops(outputs))
    assert 0 < row["disagreement"] < 1


# ---- disagreement, and who takes part --------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(K=st.integers(2, 8), N=st.integers(1, 20), classes=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_disagreement_over_pairs(K: int, N: int, classes: int, seed: int) -> None:
    answers = torch.randint(classes, (K, N), generator=torch.Generator().manual_seed(seed))
    close(disagreement(answers), disagreement_by_loops([F.one_hot(row, classes) for row in answers]))


def test_disagreement_by_hand() -> None:
    assert disagreement(torch.tensor([[0, 1, 2, 2], [0, 1, 2, 2]])) == 0
    assert disagreement(torch.tensor([[0, 1, 2, 2], [1, 0, 0, 0]])) == 1
    assert disagreement(torch.tensor([[0, 1], [0, 2], [1, 2]])) == pytest.approx(4 / 6)


def test_a_landscape_without_outputs() -> None:
    rows = rows_of(Average(), Quadratic(dim=3), normal(4, 3))
    assert list(rows) == ["uniform", "greedy"]
    assert all(row["disagreement"] is row["test_loss"] is row["train_accuracy"] is None for row in rows.values())
    assert rows_of(Average(kinds=("ensemble",)), Quadratic(dim=3), normal(4, 3)) == {}


def test_kinds_and_walkers_that_are_asked_for() -> None:
    landscape, _ = made(CrossEntropy())
    X = normal(5, landscape.size)
    rows = rows_of(Average(kinds=("ensemble", "uniform"), of=("w3", "w1")), landscape, X)
    assert [(kind, row["members"]) for kind, row in rows.items()] == [("ensemble", "w3 w1"), ("uniform", "w3 w1")]
    mean = (X[4] + X[2])[None] / 2
    close(rows["uniform"]["train_loss"], landscape.loss(mean).item())


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_walker_that_is_not_finite(wrong: float) -> None:
    """It is no member, and the others' rows are as without it; where there is no other, rows say nan."""
    landscape, _ = made(CrossEntropy())
    X = 0.3 * normal(5, landscape.size)
    without = rows_of(Average(of=("w0", "w2", "w3")), landscape, X)
    X[2, 7] = wrong
    assert rows_of(Average(), landscape, X) == without
    X[1:] = math.nan
    for row in rows_of(Average(), landscape, X).values():
        assert math.isnan(row["train_loss"]) and math.isnan(row["test_loss"])


def test_defaults() -> None:
    probe = parse({"probes": {"average": {}}}, "test").probes_of_snapshots["average"]
    assert isinstance(probe, Average)
    assert (probe.every, probe.of, probe.kinds) == (100, None, ("uniform", "greedy", "ensemble"))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("of", ["w0", "center"], "probes.average.of = [w0, center]: must hold walkers"),
        ("of", ["w9"], "probes.average.of = w9: must be of center, w0, w1, w2, w3"),
        ("of", ["w1", "w1"], "probes.average.of = [w1, w1]: must hold each name once"),
        ("kinds", ["mean"], "probes.average.kinds.0 = mean: must be uniform, greedy or ensemble"),
        ("kinds", ["greedy", "greedy"], "probes.average.kinds = [greedy, greedy]: must hold each kind once"),
        ("kinds", [], "probes.average.kinds = []: must be a list"),
        ("every", 0, "probes.average.every = 0: must be at least 1"),
    ],
)
def test_bad_values(key: str, value: object, says: str) -> None:
    with pytest.raises(UserError) as error:
        parse({"probes": {"average": {key: value}}}, "test")
    assert str(error.value).startswith(says) and "\n" not in str(error.value)
