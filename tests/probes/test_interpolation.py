"""Interpolation between the points of a snapshot: against a loop of torch modules, and the walkers' own rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import walkers_dist as wd
from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import NetworkConfig
from walkers_dist.config.load import dump, parse
from walkers_dist.landscape import Landscape, build
from walkers_dist.landscape.network import Network
from walkers_dist.landscape.quadratic import Quadratic
from walkers_dist.probes import interpolation as module
from walkers_dist.probes import paths
from walkers_dist.probes.interpolation import Interpolation
from walkers_dist.records.tables import COLUMNS, FIGURES

ABOUT = COLUMNS["interpolations"]
DIGITS = NetworkConfig.model_validate(
    {"data": {"name": "digits", "train_size": 60, "test_size": 40}, "model": {"hidden": [6, 5]}, "l2": 0.01}
)


@dataclass
class OneStep:
    """A snapshot of one step, as a probe sees it."""

    X: Tensor
    names: Sequence[str]
    steps: Sequence[int] = (7,)

    def points(self, step: int, names: Sequence[str]) -> Tensor:
        return self.X[[self.names.index(name) for name in names]].clone()


def names_of(walkers: int) -> list[str]:
    return ["center", *(f"w{i}" for i in range(walkers))]


def rows_of(probe: Interpolation, landscape: Landscape, X: Tensor, names: Sequence[str] | None = None) -> list[dict]:
    found = probe.measure(landscape, OneStep(X, names or names_of(len(X) - 1)), step=7, seed=0)
    assert list(found) == ["interpolations"]
    return [dict(zip(ABOUT, row, strict=True)) for row in found["interpolations"]]


@pytest.fixture(scope="module")
def network() -> Network:
    landscape = build(DIGITS, dtype="float64", device="cpu")
    assert isinstance(landscape, Network)
    return landscape


@pytest.fixture
def X(network: Network) -> Tensor:
    return torch.randn(3, network.size, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) / 3


def slow_figures(network: Network, theta: Tensor) -> list[float]:
    """One torch module, autograd, whole splits."""
    out = [float(theta.norm())]
    for split in ("train", "test"):
        model = network.module(theta)
        z = model(network.inputs[split])
        y = network.targets[split].argmax(1)
        square = sum(p.square().sum() for p in model.parameters())
        loss = F.cross_entropy(z, y) + network.l2 / 2 * square
        g = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])
        out += [float(loss.detach()), float(g.norm()), float((z.argmax(1) == y).double().mean())]
    return out


@pytest.mark.parametrize("path", ["linear", "spherical", "slerp"])
def test_every_row_against_a_loop_of_modules(network: Network, X: Tensor, path: Any) -> None:
    """Also SPEC E.3: a row says its coefficient t, a = 0 is the first of the pair and a = 1 the second."""
    rows = rows_of(Interpolation(path=path, points=7), network, X)
    wanted = [(a, b, t / 2) for a, b in itertools.combinations(names_of(2), 2) for t in range(-2, 5)]
    assert [(row["a"], row["b"], row["t"]) for row in rows] == wanted
    assert all((row["step"], row["path"]) == (7, path) for row in rows)
    where = dict(zip(names_of(2), X, strict=True))
    for row in rows:
        (theta,) = paths.points_between(where[row["a"]], where[row["b"]], X.new_tensor([row["t"]]), path)
        assert [row[key] for key in ("norm", *FIGURES)] == pytest.approx(slow_figures(network, theta), rel=1e-11)


def test_pairs_with_the_center_only(network: Network, X: Tensor) -> None:
    rows = rows_of(Interpolation(pairs="center", points=2), network, X)
    assert [(row["a"], row["b"]) for row in rows] == [("center", "w0")] * 2 + [("center", "w1")] * 2
    every = rows_of(Interpolation(points=2), network, X)
    assert rows == [row for row in every if row["a"] == "center"]


def test_one_walker_alone_has_no_pairs(network: Network, X: Tensor) -> None:
    assert rows_of(Interpolation(), network, X[:1], ["w0"]) == []


def test_a_quadratic_has_no_test_data_and_nothing_that_is_right() -> None:
    bowl = Quadratic(dim=2, curvature=[1.0, 3.0], dtype=torch.float64)
    rows = rows_of(Interpolation(path="linear", points=4), bowl, torch.tensor([[0.0, 0.0], [1.0, 1.0]]).double())
    for row in rows:
        assert row["train_loss"] == pytest.approx(2 * row["t"] ** 2, rel=1e-14)
        assert row["train_grad_norm"] == pytest.approx(math.sqrt(10) * abs(row["t"]), rel=1e-14)
        assert [row[key] for key in ("train_accuracy", "test_loss", "test_grad_norm", "test_accuracy")] == [None] * 4


def test_a_walker_that_is_not_finite_disturbs_no_other_pair(network: Network, X: Tensor) -> None:
    whole = rows_of(Interpolation(points=5), network, X)
    X[1, 3] = math.nan
    for row, before in zip(rows_of(Interpolation(points=5), network, X), whole, strict=True):
        if "w0" in (row["a"], row["b"]):
            assert math.isnan(row["train_loss"]) and math.isnan(row["norm"])
        else:
            assert row == before


def test_points_are_made_a_few_at_a_time(network: Network, X: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 at once, whichever pairs they belong to, and fewer where they are large; the rows are the same."""
    sizes: list[int] = []
    original = module.figures_of

    def figures_of(landscape: Landscape, theta: Tensor) -> Any:
        sizes.append(len(theta))
        return original(landscape, theta)

    monkeypatch.setattr(module, "figures_of", figures_of)
    rows = rows_of(Interpolation(points=11), network, X)
    assert sizes == [4] * 8 + [1]
    monkeypatch.setattr(paths, "NUMBERS_AT_ONCE", 2 * network.size)
    for row, other in zip(rows, rows_of(Interpolation(points=11), network, X), strict=True):
        assert list(row.values())[5:] == pytest.approx(list(other.values())[5:], rel=1e-12)
    assert set(sizes[9:]) == {2, 1}


def test_says_once_where_an_interpolated_norm_is_negative(capsys: pytest.CaptureFixture[str]) -> None:
    """SPEC E.3 asks for a warning: there the original turned the point around, here the absolute value is used."""
    bowl = Quadratic(dim=2, dtype=torch.float64)
    module._say_once.cache_clear()
    X = torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.float64)
    rows_of(Interpolation(path="linear"), bowl, X)
    rows_of(Interpolation(to=1.5), bowl, X)  # the norm is 5 - 3 t
    assert capsys.readouterr().out == ""
    for _ in range(2):
        row = rows_of(Interpolation(), bowl, X)[-1]
        assert (row["t"], row["norm"]) == (2, pytest.approx(1))
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "spherical" in said and "to = 2" in said and "absolute value" in said


def test_f25_ends_are_the_walkers_own_rows(tmp_path: Path) -> None:
    """SPEC F row 25: at t = 0 and t = 1 stand the figures that results.csv has for the two walkers."""
    config = {
        "landscape": DIGITS.model_dump(),
        **{"walkers": 3, "steps": 20, "dtype": "float64", "analysts": 0},
        "dynamics": {"name": "sgd", "batch_size": 20},
        "coupling": {"name": "easgd", "period": 4},
        **{"log": {"every": 10}, "snapshots": {"every": 10}},
    }
    run = wd.run(config, run_dir=tmp_path / "run", in_process=True, report=False)
    names = names_of(3)
    for step in (0, 10, 20):
        X = torch.stack([run.snapshot(step, name) for name in names])
        own = run.results[run.results.step == step].set_index("walker")
        rows = rows_of(Interpolation(), run.landscape, X, names)
        assert len(rows) == 6 * 31
        ends = [row for row in rows if row["t"] in (0, 1)]
        assert len(ends) == 2 * 6
        for row in ends:
            walker = own.loc[row["b"] if row["t"] else row["a"]]
            for key in ("norm", *FIGURES):
                assert row[key] == pytest.approx(walker[key], rel=1e-12), (step, key)


def parsed(**keys: Any) -> Interpolation:
    found = parse({"probes": {"interpolation": keys}}, "test").probes
    assert found and isinstance(found.interpolation, Interpolation)
    return found.interpolation


def test_configuration() -> None:
    probe = parsed(**{"from": -2, "to": 1.5, "points": 3, "path": "slerp", "pairs": "center", "every": 5})
    assert (probe.from_, probe.to, probe.points) == (-2, 1.5, 3)
    assert (probe.path, probe.pairs, probe.every) == ("slerp", "center", 5)
    default = parsed()
    assert (default.path, default.from_, default.to, default.points, default.every) == ("spherical", -1, 2, 31, 100)
    experiment = parse({"probes": {"interpolation": {"from": 0.0}}}, "test")
    assert "from: 0" in dump(experiment) and "from_" not in dump(experiment)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"from": 2, "to": 1}, ["probes.interpolation", "from = 2", "to = 1"]),
        ({"from": 2}, ["from = 2", "to = 2"]),
        ({"from": math.inf}, ["probes.interpolation.from", "inf"]),
        ({"to": math.nan}, ["probes.interpolation.to", "nan"]),
        ({"points": 1}, ["probes.interpolation.points = 1", "at least 2"]),
        ({"points": 3.5}, ["probes.interpolation.points = 3.5", "an integer"]),
        ({"path": "round"}, ["probes.interpolation.path = round", "linear, spherical or slerp"]),
        ({"pairs": "some"}, ["probes.interpolation.pairs = some", "auto, all or center"]),
        ({"every": 0}, ["probes.interpolation.every = 0", "at least 1"]),
        ({"form": 1}, ["probes.interpolation.form", "did you mean probes.interpolation.from?"]),
    ],
)
def test_bad_keys_are_refused_in_one_line(keys: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as refusal:
        parsed(**keys)
    line = str(refusal.value)
    assert "\n" not in line and all(word in line for word in words), line
