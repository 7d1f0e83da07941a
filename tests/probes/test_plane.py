"""The plane: Gram-Schmidt, principal and random directions, and values against plain loops and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import walkers_dist as wd
from walkers_dist.cli import main
from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import NetworkConfig
from walkers_dist.config.load import dump, parse
from walkers_dist.landscape import Landscape, build, stream
from walkers_dist.landscape.module import ModuleModel
from walkers_dist.landscape.network import Network
from walkers_dist.landscape.quadratic import Quadratic
from walkers_dist.probes import plane as module
from walkers_dist.probes.plane import Axes, NoPlane, Plane, explained, filter_normalised, orthonormal, plane_values
from walkers_dist.records.tables import COLUMNS

Row = dict[str, Any]
SMALL = NetworkConfig.model_validate(
    {"data": {"name": "digits", "train_size": 60, "test_size": 40}, "model": {"hidden": [6, 5]}, "l2": 0.01}
)


class History:
    """Snapshots of every 10th step, as a probe sees them: `X: [steps, names, P]`."""

    def __init__(self, X: Tensor, names: Sequence[str] | None = None) -> None:
        self.X, self.steps = X, range(0, 10 * len(X), 10)
        self.names = names or ["center", *(f"w{i}" for i in range(X.shape[1] - 1))]

    def points(self, step: int, names: Sequence[str]) -> Tensor:
        return self.X[step // 10, [self.names.index(name) for name in names]].clone()


def measured(probe: Plane, landscape: Landscape, history: History, seed: int = 3) -> tuple[list[Row], list[Row]]:
    found = probe.measure(landscape, history, history.steps[-1], seed)
    planes, points = ([dict(zip(COLUMNS[t], row, strict=True)) for row in found[t]] for t in ("planes", "plane_points"))
    assert list(found) == ["planes", "plane_points"]
    assert {row["step"] for row in planes + points} <= {history.steps[-1]}
    return planes, points


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def column(rows: Sequence[Row], key: str) -> Tensor:
    return torch.tensor([row[key] for row in rows], dtype=torch.float64)


@pytest.fixture(scope="module")
def network() -> Network:
    landscape = build(SMALL, dtype="float64", device="cpu")
    assert isinstance(landscape, Network)
    return landscape


@pytest.fixture
def history(network: Network) -> History:
    """Center and two walkers over four steps, from one start."""
    return History(network.start("w0") + draw(4, 3, network.size).cumsum(0).sub_(draw(1, 1, network.size)) / 10)


def slow_values(network: Network, theta: Tensor) -> list[float]:
    out = []
    for split in ("train", "test"):
        model, y = network.module(theta), network.targets[split].argmax(1)
        with torch.no_grad():
            z = model(network.inputs[split])
            loss = F.cross_entropy(z, y) + network.l2 / 2 * theta.square().sum()
        out += [float(loss), float((z.argmax(1) == y).double().mean())]
    return out


# ---- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [{}, {"directions": "principal"}, {"directions": "random", "radius": 0.4}, {"directions": "hessian"}],
)
def test_the_grid_against_a_loop_of_modules(network: Network, history: History, keys: Any) -> None:
    probe = Plane(grid=5, **keys)
    planes, _ = measured(probe, network, history)
    name, axes = probe.axes(network, history, 30, seed=3)
    assert len(planes) == 25 and {row["plane"] for row in planes} == {name}
    u, v = column(planes, "u").view(5, 5), column(planes, "v").view(5, 5)
    assert (u[0] == u).all() and (u[0].diff() > 0).all(), "u runs fastest"
    assert (v[:, :1] == v).all() and (v[:, 0].diff() > 0).all()
    for row in planes:
        theta = axes.origin + row["u"] * axes.E[0] + row["v"] * axes.E[1]
        assert list(row.values())[4:] == pytest.approx(slow_values(network, theta), rel=1e-11)


def test_a_bowl_cut_by_a_plane_is_a_bowl() -> None:
    """h |theta|^2 / 2 on a plane is h (|o|^2 + u^2 + v^2 + 2 u o.e_1 + 2 v o.e_2) / 2."""
    bowl = Quadratic(dim=40, curvature=3.0, dtype=torch.float64)
    history = History(draw(2, 3, 40))
    a, b, c = history.X[1]
    planes, points = measured(Plane(grid=7), bowl, history)
    e1 = (b - a) / (b - a).norm()
    e2 = (c - a) - e1 * (e1 @ (c - a))
    e2 = e2 / e2.norm()
    for row in planes:
        u, v = row["u"], row["v"]
        exact = 1.5 * (a @ a + u * u + v * v + 2 * u * (a @ e1) + 2 * v * (a @ e2))
        assert row["train_loss"] == pytest.approx(float(exact), rel=1e-13)
        assert (row["train_accuracy"], row["test_loss"], row["test_accuracy"]) == (None, None, None)
    for row, theta in zip(points, history.X.transpose(0, 1).flatten(0, 1), strict=True):
        beside = theta - a - (e1 @ (theta - a)) * e1 - (e2 @ (theta - a)) * e2
        wanted = [float(x) for x in (e1 @ (theta - a), e2 @ (theta - a), beside.norm(), 1.5 * theta @ theta)]
        assert [row[k] for k in ("u", "v", "distance", "train_loss")] == pytest.approx(wanted, rel=1e-12, abs=1e-12)


def test_values_that_are_not_finite_stay_in_the_table() -> None:
    class Cliff(Landscape):
        size, dtype = 2, torch.float64

        def loss(self, theta: Tensor, *, split: str = "train", walkers: Any = None) -> Tensor:
            return theta[:, 0].log()  # nan left of the axis, -inf on it

    X = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    planes, points = measured(Plane(grid=3, margin=1.0), Cliff(), History(X))
    losses = column(planes, "train_loss").view(3, 3)
    assert losses[:, 0].isnan().all()
    assert losses[:, 1:].tolist() == [[pytest.approx(math.log(0.5)), pytest.approx(math.log(2))]] * 3
    assert [row["train_loss"] for row in points] == [-math.inf, 0, -math.inf]


def test_points_are_made_a_few_at_a_time(network: Network, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    original = Axes.points
    monkeypatch.setattr(Axes, "points", lambda self, uv: sizes.append(len(uv)) or original(self, uv))
    measured(Plane(grid=5), network, history)
    assert sizes == [4] * 6 + [1]


# ---- where the walkers are ------------------------------------------------------------------------------------------


def test_three_points_lie_where_geometry_says(network: Network, history: History) -> None:
    """a at 0, b at |b - a| on the first axis, c above it; their values on the plane are their true ones."""
    probe = Plane(through=("w1", "center", "w0"), grid=2)
    planes, points = measured(probe, network, history)
    assert {row["plane"] for row in planes + points} == {"w1-center-w0"}
    last = {row["walker"]: row for row in points}
    assert (last["w1"]["u"], last["w1"]["v"]) == (0, 0)
    c, w0, w1 = history.X[-1]
    assert last["center"]["u"] == pytest.approx(float((c - w1).norm()), rel=1e-13)
    assert last["center"]["v"] == pytest.approx(0, abs=1e-13) and last["w0"]["v"] > 0
    for one, other, distance in (("w0", "w1", w0 - w1), ("w0", "center", w0 - c)):
        apart = math.hypot(last[one]["u"] - last[other]["u"], last[one]["v"] - last[other]["v"])
        assert apart == pytest.approx(float(distance.norm()), rel=1e-13)
    _, axes = probe.axes(network, history, 30, seed=3)
    for row in last.values():
        assert row["distance"] < 1e-12
        ((loss, *_),) = plane_values(network, axes, [(row["u"], row["v"])])
        assert loss == pytest.approx(row["train_loss"], rel=1e-12)


def test_paths_come_walker_by_walker_in_the_order_of_their_steps(network: Network, history: History) -> None:
    _, points = measured(Plane(grid=2), network, history)
    assert [row["walker"] for row in points] == ["center"] * 4 + ["w0"] * 4 + ["w1"] * 4
    for row, theta in zip(points, history.X.transpose(0, 1).flatten(0, 1), strict=True):
        assert row["train_loss"] == pytest.approx(slow_values(network, theta)[0], rel=1e-12)


@pytest.mark.parametrize("margin", [0.0, 0.2, 1.5])
def test_the_window_holds_every_path_and_its_margin(network: Network, history: History, margin: float) -> None:
    planes, points = measured(Plane(grid=3, margin=margin), network, history)
    for key in ("u", "v"):
        path, grid = column(points, key), column(planes, key)
        extent = path.max() - path.min()
        assert grid.min() == pytest.approx(float(path.min() - margin * extent), rel=1e-12, abs=1e-15)
        assert grid.max() == pytest.approx(float(path.max() + margin * extent), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("dtype", "rel"), [("float64", 1e-11), ("float32", 1e-5)])
def test_in_the_plane_a_walker_has_the_loss_of_its_own_row(tmp_path: Path, dtype: str, rel: float) -> None:
    """As the analyst measures: in float64, whatever the walkers train in."""
    config = {
        "landscape": SMALL.model_dump(),
        **{"walkers": 3, "steps": 20, "dtype": dtype, "analysts": 0},
        "dynamics": {"name": "sgd", "batch_size": 20},
        **{"log": {"every": 10}, "snapshots": {"every": 10}},
    }
    run = wd.run(config, run_dir=tmp_path / "run", in_process=True, report=False)
    names = ["center", "w0", "w1", "w2"]
    X = torch.stack([torch.stack([run.snapshot(s, name) for name in names]) for s in (0, 10, 20)]).double()
    landscape = build(SMALL, dtype="float64", device="cpu")
    probe = Plane(through=("w0", "w1", "w2"), grid=2)
    _, points = measured(probe, landscape, History(X, names))
    _, axes = probe.axes(landscape, History(X, names), 20, seed=0)
    own = run.results.set_index(["step", "walker"]).train_loss
    for i, row in enumerate(points):
        assert row["train_loss"] == pytest.approx(own[10 * (i % 3), row["walker"]], rel=rel)
        if i % 3 == 2:  # the mean of the three lies in their plane too
            assert row["distance"] < (1e-12 if dtype == "float64" else 1e-5)
            ((on_plane, *_),) = plane_values(landscape, axes, [(row["u"], row["v"])])
            assert on_plane == pytest.approx(own[20, row["walker"]], rel=rel)


# ---- directions -----------------------------------------------------------------------------------------------------

numbers = st.floats(-5, 5).map(lambda x: round(x, 3))
vectors = st.integers(2, 8).flatmap(
    lambda P: st.lists(st.lists(numbers, min_size=P, max_size=P), min_size=3, max_size=3).map(
        lambda rows: torch.tensor(rows, dtype=torch.float64)
    )
)


@given(vectors)
@settings(max_examples=200, deadline=None)
def test_gram_schmidt(points: Tensor) -> None:
    """Orthonormal rows that span the same plane, the first along the first, the second on the second's side."""
    o, first, second = points
    try:
        axes = orthonormal(o, first, second, "it")
    except NoPlane:
        assert np.linalg.svd(torch.stack([first, second]).numpy(), compute_uv=False)[-1] < 1e-4
        return
    e1, e2 = axes.E
    torch.testing.assert_close(axes.E @ axes.E.T, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-14)
    assert float(first @ e1) == pytest.approx(float(first.norm())) and float(second @ e2) > 0
    uv, off = axes.coordinates(torch.stack([o, o + first, o + second, o + first - 2 * second]))
    torch.testing.assert_close(off, torch.zeros_like(off), rtol=0, atol=1e-13)
    torch.testing.assert_close(axes.points(uv)[3], o + first - 2 * second, rtol=0, atol=1e-12)


@given(vectors, st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_coordinates_and_distance_are_pythagoras(points: Tensor, seed: int) -> None:
    try:
        axes = orthonormal(*points, "it")
    except NoPlane:
        assume(False)
    X = draw(6, len(points[0]), seed=seed)
    uv, off = axes.coordinates(X)
    square = (X - axes.origin).square().sum(1)
    torch.testing.assert_close(uv.square().sum(1) + off.square(), square, rtol=1e-12, atol=1e-13)


def test_all_but_parallel_directions_are_made_orthogonal_twice() -> None:
    o, first, along = draw(3, 500)
    axes = orthonormal(o, first, first + 1e-4 * along, "it")
    assert abs(float(axes.E[0] @ axes.E[1])) < 1e-15


def test_principal_directions_against_numpys_svd(network: Network) -> None:
    """Relative to the final point of `around`, as Li et al. (2018) do; signs aside."""
    X = draw(5, 3, network.size).cumsum(0) * torch.linspace(0.1, 3, network.size)
    probe = Plane(directions="principal", around="w1", grid=2)
    name, axes = probe.axes(network, History(X), 40, seed=3)
    M = (X.flatten(0, 1) - X[-1, 2]).numpy()
    _, s, Vt = np.linalg.svd(M, full_matrices=False)
    assert name == "principal" and torch.equal(axes.origin, X[-1, 2])
    np.testing.assert_allclose(np.abs(axes.E.numpy() @ Vt[:2].T), np.eye(2), atol=1e-10)
    _, points = measured(probe, network, History(X))
    shares = explained((row["u"], row["v"], row["distance"]) for row in points)
    np.testing.assert_allclose(shares, (s**2 / (s**2).sum())[:2], rtol=1e-12)
    farthest = column(points, "u").abs().argmax(), column(points, "v").abs().argmax()
    assert points[farthest[0]]["u"] > 0 and points[farthest[1]]["v"] > 0


def test_the_explained_variance_is_said_and_follows_from_the_table(
    network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trajectory in three directions of lengths 3, 2, 1 and nothing else: 9/14 and 4/14 of its squares."""
    axes = torch.eye(network.size, dtype=torch.float64)[[5, 11, 2]] * torch.tensor([[3.0], [2], [1]]).double()
    o = network.start("w0")
    X = torch.stack([o + axes[0], o + axes[1], o + axes[2], o])[:, None]
    _, points = measured(Plane(directions="principal", grid=2), network, History(X, ["w0"]))
    assert explained((r["u"], r["v"], r["distance"]) for r in points) == pytest.approx((9 / 14, 4 / 14), rel=1e-12)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "step 30" in said and "64.3 % and 28.6 %" in said


@pytest.mark.parametrize("held", [1, 7 * 3 * 10, 10**9])
def test_a_long_trajectory_is_taken_in_blocks(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(draw(23, 3, 10).cumsum(0))
    bowl = Quadratic(dim=10, dtype=torch.float64)
    _, whole = Plane(directions="principal").axes(bowl, history, 220, seed=0)
    monkeypatch.setattr(module, "TRAJECTORY_AT_ONCE", held)
    _, parts = Plane(directions="principal").axes(bowl, history, 220, seed=0)
    torch.testing.assert_close(parts.E, whole.E, rtol=1e-11, atol=1e-12)


def test_one_walker_alone_has_principal_and_random_directions(network: Network, history: History) -> None:
    alone = History(history.X[:, 1:2], ["w0"])
    for directions in ("principal", "random"):
        planes, points = measured(Plane(directions=directions, grid=3), network, alone)
        assert len(planes) == 9 and [row["walker"] for row in points] == ["w0"] * 4
        assert (points[-1]["u"], points[-1]["v"], points[-1]["distance"]) == (0, 0, 0)


def slow_filters(theta: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """The parts of a point that one row of a weight (or a whole vector) is."""
    parts = theta.split([math.prod(shape) for shape in shapes])
    return [
        row
        for part, shape in zip(parts, shapes, strict=True)
        for row in (part.view(shape[0], -1) if len(shape) > 1 else part[None])
    ]


def test_filter_normalisation_of_a_perceptron(network: Network) -> None:
    """Li et al. (2018), section 4: each filter of the direction has the norm of the same filter of the point."""
    shapes = [p.shape for p in network.module(network.start("w0")).parameters()]
    theta = draw(network.size, seed=1)
    theta[:64] = 0  # a filter that is zero stays where it is
    D = draw(2, network.size, seed=2)
    for d, raw in zip(filter_normalised(D, theta, network.filters), D, strict=True):
        filters = [slow_filters(x, shapes) for x in (d, theta, raw)]
        assert len(filters[0]) == 6 + 1 + 5 + 1 + 10 + 1
        for found, wanted, before in zip(*filters, strict=True):
            assert float(found.norm()) == pytest.approx(float(wanted.norm()), rel=1e-13)
            torch.testing.assert_close(found * before.norm(), before * wanted.norm(), rtol=1e-12, atol=0)
        assert float(d.norm()) == pytest.approx(float(theta.norm()), rel=1e-13)


def test_filters_of_a_module_are_the_outputs_of_its_weights() -> None:
    def make() -> nn.Module:
        net = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.LayerNorm(12), nn.Linear(12, 4, bias=False))
        net[2].bias.requires_grad_(False)
        return net

    model = ModuleModel(make, "net", torch.zeros(1, 2, 3, 3), torch.Generator(), torch.float32)
    assert list(model.filters) == [8, 8, 8, 3, 12, 12, 12, 12, 12]
    assert sum(model.filters) == model.size


def test_without_filters_a_point_is_one() -> None:
    D, theta = draw(2, 7), draw(7, seed=1)
    found = filter_normalised(D, theta, None)
    torch.testing.assert_close(found, D / D.norm(dim=1, keepdim=True) * theta.norm(), rtol=1e-13, atol=0)


def test_random_directions_belong_to_seed_and_point(network: Network, history: History) -> None:
    """The plane is that of the filter-normalised directions, whatever the coordinates: and its window is `radius`."""
    probe = Plane(directions="random", around="w0", grid=3, radius=0.5)
    name, axes = probe.axes(network, history, 30, seed=3)
    o = history.X[-1, 1]
    D = torch.randn(2, network.size, generator=stream(3, "w0", "plane"), dtype=torch.float64)
    D = filter_normalised(D, o, network.filters)
    assert name == "random" and torch.equal(axes.origin, o)
    torch.testing.assert_close(D @ axes.E.T @ axes.E, D, rtol=1e-12, atol=1e-13)
    planes, _ = measured(probe, network, history)
    half = float(o.norm()) / 2
    assert column(planes, "u").view(3, 3)[0].tolist() == pytest.approx([-half, 0, half])
    assert (planes[4]["u"], planes[4]["v"]) == (0, 0)
    assert planes[4]["train_loss"] == pytest.approx(slow_values(network, o)[0], rel=1e-12)


def test_along_the_hessian_a_bowls_axes_are_its_two_stiffest_coordinates() -> None:
    """With o at the bottom of both, the loss is that of o, L, plus (lambda_1 u^2 + lambda_2 v^2) / 2: at most 3 L."""
    h = draw(400).abs().tolist()
    h[7], h[313] = 20.0, 9.0
    bowl = Quadratic(dim=400, curvature=h, dtype=torch.float64)
    history = History(draw(2, 3, 400))
    history.X[1, 1, [7, 313]] = 0
    o = history.X[1, 1]
    probe = Plane(directions="hessian", around="w0", grid=5)
    name, axes = probe.axes(bowl, history, 10, seed=3)
    assert name == "hessian" and torch.equal(axes.origin, o)
    units = torch.eye(400, dtype=torch.float64)[[7, 313]]
    torch.testing.assert_close(axes.E.abs(), units, rtol=0, atol=1e-5)
    planes, points = measured(probe, bowl, history)
    L = float((bowl.h * o.square()).sum() / 2)
    u, v = column(planes, "u"), column(planes, "v")
    assert [float(u.max()), float(v.max())] == pytest.approx([math.sqrt(L / 10), math.sqrt(L / 4.5)], rel=1e-9)
    assert [float(u.min()), float(v.min())] == [-float(u.max()), -float(v.max())]
    torch.testing.assert_close(column(planes, "train_loss"), L + (20 * u**2 + 9 * v**2) / 2, rtol=1e-6, atol=0)
    wide, _ = measured(Plane(directions="hessian", around="w0", grid=5, radius=3), bowl, history)
    torch.testing.assert_close(column(wide, "u"), 3 * u, rtol=1e-12, atol=1e-15)
    center = points[1]  # its path is projected like any other
    assert (center["walker"], center["u"]) == ("center", pytest.approx(float(axes.E[0] @ (history.X[1, 0] - o))))


def test_the_hessians_directions_of_a_network_are_its_dense_eigenvectors(network: Network, history: History) -> None:
    name, axes = Plane(directions="hessian").axes(network, history, 30, seed=3)
    o = history.X[-1, 0]
    model, n = network.module(o), network.size
    shapes = {key: p.shape for key, p in model.named_parameters()}

    def loss(theta: Tensor) -> Tensor:
        parts = dict(zip(shapes, theta.split([s.numel() for s in shapes.values()]), strict=True))
        parts = {key: part.view(shapes[key]) for key, part in parts.items()}
        z = torch.func.functional_call(model, parts, (network.inputs["train"],))
        return F.cross_entropy(z, network.targets["train"].argmax(1)) + network.l2 / 2 * theta.square().sum()

    values, V = torch.linalg.eigh(torch.func.hessian(loss)(o))
    assert n > 200 and name == "hessian"
    assert axes.eigenvalues == pytest.approx(values[[-1, -2]].tolist(), rel=1e-8)
    torch.testing.assert_close((axes.E @ V[:, [-1, -2]]).abs(), torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-4)
    torch.testing.assert_close(axes.E @ axes.E.T, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", [{"name": "lenet", "padding": 2}, {"name": "mlp", "hidden": [4]}])
def test_the_hessians_plane_of_a_run_by_the_command(model: dict[str, Any], tmp_path: Path) -> None:
    config = {
        "landscape": {"data": {"name": "digits", "train_size": 30, "test_size": 20}, "model": model},
        **{"walkers": 2, "steps": 2, "analysts": 0, "dynamics": {"name": "sgd", "batch_size": 10}},
        "snapshots": {"every": 2},
    }
    run = wd.run(config, run_dir=tmp_path / "run", in_process=True, report=False)
    assert main(["probe", str(run.path), "plane", "--directions", "hessian", "--grid", "3", "--no-report"]) == 0
    assert run.planes["plane"].tolist() == ["hessian"] * 9
    middle = run.planes["train_loss"][4]
    assert middle == pytest.approx(run.results.query("step == 2 and walker == 'center'")["train_loss"].item(), rel=1e-5)
    along_u = run.planes["train_loss"][[3, 4, 5]].tolist()
    assert along_u[0] + along_u[2] > 2 * middle  # it bends upwards


def test_measured_again_everything_is_equal(network: Network, history: History) -> None:
    for keys in ({}, {"directions": "principal"}, {"directions": "random"}, {"directions": "hessian"}):
        probe = Plane(grid=3, **keys)
        assert measured(probe, network, history) == measured(probe, network, history)
    random = Plane(directions="random", grid=2)
    assert measured(random, network, history, seed=4) != measured(random, network, history, seed=3)


# ---- where there is no plane ----------------------------------------------------------------------------------------


def equal(X: Tensor) -> None:
    X[:] = X[0, 0].clone()


def on_a_line(X: Tensor) -> None:
    """A center that is the mean of two walkers, rounded to single precision."""
    X[-1, 0] = X[-1, 1:].mean(0).float().double()


def diverged(X: Tensor) -> None:
    X[-1, 1, 4] = math.nan


def huge(X: Tensor) -> None:
    X[-1, 2] = 1e200


def zero(X: Tensor) -> None:
    X[-1, 0] = 0


@pytest.mark.parametrize(
    ("keys", "spoil", "words"),
    [
        ({}, equal, "center, w0, w1 lie at one point or on one line"),
        ({}, on_a_line, "center, w0, w1 lie at one point or on one line"),
        ({}, diverged, "w0 is not finite"),
        ({"directions": "principal"}, equal, "one point or on one line"),
        ({"directions": "principal", "around": "w0"}, diverged, "w0 is not finite"),
        ({"directions": "random"}, zero, "one point or on one line"),
        ({"directions": "hessian", "around": "w0"}, diverged, "w0 is not finite"),
        ({"directions": "hessian", "around": "w1"}, huge, "not finite"),
    ],
)
def test_no_plane_is_said_in_one_line_and_leaves_no_rows(
    network: Network,
    history: History,
    keys: Any,
    spoil: Callable[[Tensor], None],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(history.X)
    assert measured(Plane(**keys), network, history) == ([], [])
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith("plane at step 30: ") and words in said


@pytest.mark.parametrize(
    ("dim", "start", "words"),
    [(1, 1.0, "there are 1 eigenvalues"), (3, 0.0, "a loss of 0 and eigenvalues 1 and 1 give no scale")],
)
def test_where_the_hessian_gives_no_plane(
    dim: int, start: float, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    X = torch.full((1, 1, dim), start, dtype=torch.float64)
    assert measured(Plane(directions="hessian"), Quadratic(dim=dim), History(X, ["w0"])) == ([], [])
    assert words in capsys.readouterr().out


def test_two_points_say_which_key_to_set(
    network: Network, history: History, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measured(Plane(), network, History(history.X[:, :2])) == ([], [])
    assert "set directions = principal, random or hessian" in capsys.readouterr().out


def test_the_first_step_has_no_principal_directions(network: Network, history: History) -> None:
    alone = History(history.X[:1, :1], ["w0"])
    assert measured(Plane(directions="principal"), network, alone) == ([], [])


@pytest.mark.parametrize("keys", [{"through": ("center", "w0", "w2")}, {"directions": "principal"}])
def test_a_walker_that_is_not_finite_disturbs_no_other(network: Network, keys: Any) -> None:
    X = network.start("w0") + draw(3, 4, network.size) / 10
    X[1:, 2] = torch.tensor([math.nan, math.inf])[:, None]
    planes, points = measured(Plane(grid=3, **keys), network, History(X))
    without = History(torch.cat([X[:, :2], X[:, 3:]], dim=1), ["center", "w0", "w2"])
    assert all(math.isfinite(value) for row in planes for value in list(row.values())[2:])
    by_walker = {name: [row for row in points if row["walker"] == name] for name in ("center", "w0", "w1", "w2")}
    assert all(math.isnan(row[key]) for row in by_walker["w1"][1:] for key in ("u", "v", "distance", "train_loss"))
    assert math.isfinite(by_walker["w1"][0]["train_loss"])
    if "through" in keys:
        _, others = measured(Plane(grid=3, **keys), network, without)
        kept = [row for row in points if row["walker"] != "w1"]
        for row, other in zip(kept, others, strict=True):
            assert list(row.values())[3:] == pytest.approx(list(other.values())[3:], rel=1e-12, abs=1e-13)


def test_a_walker_far_off_the_scale_ends_no_analysis(network: Network, history: History) -> None:
    history.X[2, 1] = 1e200
    for keys in ({}, {"directions": "principal"}, {"directions": "random"}):
        measured(Plane(grid=2, **keys), network, history)


# ---- configuration --------------------------------------------------------------------------------------------------


def parsed(walkers: int = 3, **keys: Any) -> Plane:
    found = parse({"walkers": walkers, "probes": {"plane": keys}}, "test").probes
    assert found and isinstance(found.plane, Plane)
    return found.plane


def test_configuration() -> None:
    default = parsed()
    assert (default.through, default.directions, default.around) == (None, None, None)
    assert (default.every, default.grid, default.margin, default.radius) == (100, 51, 0.2, 1.0)
    assert parsed(through=["w2", "w0", "center"]).through == ("w2", "w0", "center")
    assert parsed(walkers=1, directions="principal").directions == "principal"
    assert parsed(walkers=1, directions="random", around="w0", radius=2).radius == 2
    assert parsed(walkers=1, directions="hessian", around="w0", radius=2).radius == 2
    experiment = parse({"probes": {"plane": {"through": ["w2", "w0", "center"]}}}, "test")
    import yaml

    assert parse(yaml.safe_load(dump(experiment)), "test") == experiment


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"through": ["w0", "w1"]}, ["probes.plane.through = [w0, w1]", "three points"]),
        ({"through": ["w0", "w1", "w2", "center"]}, ["probes.plane.through", "three points"]),
        ({"through": ["w0", "w1", "w0"]}, ["probes.plane.through = [w0, w1, w0]", "each name once"]),
        ({"through": ["w0", "w1", "w3"]}, ["probes.plane.through = w3", "center, w0, w1, w2"]),
        ({"through": ["w0", "w1", 2]}, ["probes.plane.through", "text"]),
        ({"through": "w0"}, ["probes.plane.through = w0", "a list"]),
        ({"through": ["w0", "w1", "w2"], "directions": "random"}, ["through = [w0, w1, w2]", "directions = random"]),
        ({"through": ["w0", "w1", "w2"], "around": "w0"}, ["around = w0", "directions"]),
        ({"around": "w0"}, ["around = w0", "directions"]),
        ({"directions": "principal", "around": "w7"}, ["probes.plane.around = w7", "center, w0, w1, w2"]),
        ({"directions": "steepest"}, ["probes.plane.directions = steepest", "principal, random or hessian"]),
        ({"radius": 2}, ["radius = 2", "directions = random or hessian", "margin"]),
        ({"directions": "random", "margin": 0.1}, ["margin = 0.1", "directions = random", "radius"]),
        ({"directions": "hessian", "margin": 0.1}, ["margin = 0.1", "directions = hessian", "radius"]),
        ({"directions": "random", "radius": 0}, ["probes.plane.radius = 0", "greater than 0"]),
        ({"margin": -0.1}, ["probes.plane.margin = -0.1", "at least 0"]),
        ({"margin": math.inf}, ["probes.plane.margin", "inf"]),
        ({"grid": 1}, ["probes.plane.grid = 1", "at least 2"]),
        ({"grids": 9}, ["probes.plane.grids", "did you mean probes.plane.grid?"]),
        (
            {"walkers": 1},
            ["probes.plane: there is only w0, and a plane has three points", "principal, random or hessian"],
        ),
    ],
)
def test_bad_keys_are_refused_in_one_line(keys: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as refusal:
        parsed(**keys)
    line = str(refusal.value)
    assert "\n" not in line and all(word in line for word in words), line
