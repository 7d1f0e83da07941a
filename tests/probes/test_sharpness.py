"""Sharpness, against closed forms on quadratic surfaces and the Hessian of networks (SPEC E.3 `sharpness`, F28)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.landscape import build
from walkers_dist.landscape.base import Landscape
from walkers_dist.landscape.quadratic import Quadratic
from walkers_dist.landscape.streams import stream
from walkers_dist.probes import sharpness as module
from walkers_dist.probes.ascent import STANDING, STARTS, Ball, Box, Top, climb
from walkers_dist.probes.sharpness import Sharpness, sharpness
from walkers_dist.records.tables import COLUMNS

SEED, STEP = 3, 700
ROUNDING = 1 + 1e-12
Found = list[dict[str, Any]]


class Points:
    """Snapshots that hold these points at every step."""

    def __init__(self, X: Tensor, names: Sequence[str] = ()) -> None:
        self.X, self.names, self.steps = X, list(names) or [f"w{i}" for i in range(len(X))], [STEP]

    def points(self, step: int, names: Sequence[str]) -> Tensor:
        return self.X[[self.names.index(name) for name in names]]


class Surface(Landscape):
    """c + g . theta + theta . H theta / 2."""

    dtype = torch.float64

    def __init__(self, H: Tensor, g: Tensor | None = None, c: float = 0.0) -> None:
        self.H, self.size, self.c = H, len(H), c
        self.g = torch.zeros(len(H), dtype=H.dtype) if g is None else g

    def loss(self, theta: Tensor, *, split: str = "train", walkers: Sequence[str] | None = None) -> Tensor:
        return self.c + theta @ self.g + (theta @ self.H * theta).sum(dim=1) / 2


class Bowl(Surface):
    """The same around an optimum m, without the cancellation."""

    def loss(self, theta: Tensor, *, split: str = "train", walkers: Sequence[str] | None = None) -> Tensor:
        y = theta - self.g
        return (y @ self.H * y).sum(dim=1) / 2


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rotated(eigenvalues: Tensor, seed: int = 0) -> Tensor:
    """A symmetric matrix with these eigenvalues, in a random basis."""
    Q, _ = torch.linalg.qr(normal(len(eigenvalues), len(eigenvalues), seed=seed))
    return Q @ torch.diag(eigenvalues.double()) @ Q.T


def highest(H: Tensor, g: Tensor, epsilon: float) -> float:
    """max over |y| <= epsilon of g . y + y . H y / 2, exactly: y = (mu - H)^-1 g, mu >= the top eigenvalue, 0."""
    h, Q = torch.linalg.eigh(H)
    q = Q.T @ g
    floor = max(h[-1].item(), 0.0)
    low, high = floor + 1e-13 * (1 + floor), floor + q.norm().item() / epsilon + 1e-12
    for _ in range(200):
        mu = (low + high) / 2
        low, high = (mu, high) if (q / (mu - h)).norm() > epsilon else (low, mu)
    y = q / (high - h)
    if h[-1] > 0:  # at the edge of what mu may be, the rest of the way goes along the top eigenvector
        y[-1] += math.copysign(math.sqrt(max(epsilon**2 - (y.norm() ** 2 - y[-1] ** 2).item(), 0)), q[-1]) - y[-1]
    return (q @ y + (h * y * y).sum() / 2).item()


def ascend(landscape: Landscape, X: Tensor, epsilon: float = 0.01, moves: int = 100, region: Any = Ball) -> Top:
    streams = [stream(SEED, f"w{k}", "test", 0) for k in range(len(X))]
    top = climb(landscape.loss, landscape.grad, region(X, epsilon), streams, moves)
    torch.testing.assert_close(top.loss, landscape.loss(top.theta), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(top.start, landscape.loss(X), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(top.distance, (top.theta - X).norm(dim=1), rtol=1e-9, atol=1e-14)
    if region is Ball:
        assert (top.distance <= epsilon * ROUNDING).all()
    assert (top.loss >= top.start).all() and (top.moves <= moves).all()
    return top


def rows_of(probe: Sharpness, landscape: Landscape, points: Points, seed: int = SEED, step: int = STEP) -> Found:
    (rows,) = probe.measure(landscape, points, step, seed).values()
    return [dict(zip(COLUMNS["sharpness"], row, strict=True)) for row in rows]


def digits(l2: float = 0.0) -> Landscape:
    data = {"name": "digits", "train_size": 60, "test_size": 30}
    model = {"hidden": [4], "activation": "tanh"}
    landscape = {"kind": "network", "data": data, "model": model, "l2": l2}
    config = parse({"landscape": landscape, "dynamics": {"batch_size": 10}}, "test")
    return build(config.landscape, seed=0, dtype=torch.float64, device=torch.device("cpu"))


def trained(landscape: Landscape, steps: int) -> Tensor:
    X = torch.stack([landscape.start("w0"), landscape.start("w0").neg()])
    for _ in range(steps):
        X -= 0.3 * landscape.grad(X)
    return X


def test_e3_formula() -> None:
    assert f"{sharpness(*torch.tensor([0.1, 0.25], dtype=torch.float64)).item():.7f}" == "13.6363636"


# ---- the ball ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "eigenvalues",
    [
        torch.tensor([2.0]),
        torch.tensor([1e-3, 1e3]),
        torch.linspace(0, 1, 50),
        torch.full((20,), 3.0),
        torch.cat([torch.full((400,), 0.9), torch.ones(1)]),
        torch.cat([torch.linspace(-0.2, 0.1, 300), torch.tensor([1.0])]),
        torch.linspace(-0.5, 1, 100),  # a saddle
        torch.linspace(-1, 0.1, 100),  # one that curves downwards more than upwards
    ],
    ids=["1", "stiff", "even", "round", "close", "network", "saddle", "downwards"],
)
def test_f28_from_the_minimum(eigenvalues: Tensor) -> None:
    """l eps^2 / 2 within 5 %; the gradient there vanishes, so that plain ascent, as the original's, does not move."""
    surface = Surface(rotated(eigenvalues))
    X = torch.zeros(2, surface.size, dtype=torch.float64)
    for epsilon in (0.01, 1.0):
        moves = 100 if eigenvalues.min() > -0.3 else 400  # no minimum, then, and steps must be short
        rise = ascend(surface, X, epsilon, moves).loss
        exact = eigenvalues.max().item() * epsilon**2 / 2
        assert (0.95 * exact <= rise).all() and (rise <= exact * ROUNDING).all()
    plain = X.clone()
    for _ in range(1000):
        plain += 1e-4 * surface.grad(plain)
    assert surface.loss(plain).max() == 0


@settings(max_examples=60, deadline=None)
@given(
    dim=st.integers(1, 30),
    seed=st.integers(0, 10**6),
    slope=st.sampled_from([0.0, 1e-6, 1e-3, 1e-2, 1.0]),
    shift=st.sampled_from([0.0, 1.0, 3.0]),
    epsilon=st.sampled_from([1e-3, 1e-2, 1.0]),
)
def test_against_the_exact_maximum(dim: int, seed: int, slope: float, shift: float, epsilon: float) -> None:
    """Bowls and saddles, at the minimum and on their slopes, where the maximum over the ball has a closed form."""
    A = normal(dim, dim, seed=seed)
    H = (A + A.T) / math.sqrt(4 * dim) + shift * torch.eye(dim, dtype=torch.float64)
    g = slope * normal(dim, seed=seed + 1)
    exact = highest(H, g, epsilon)
    top = ascend(Surface(H, g), torch.zeros(1, dim, dtype=torch.float64), epsilon)
    share = 0.95 if shift else 0.8  # where the surface curves downwards as much as upwards, 100 moves are few
    least = share * exact - STANDING * epsilon * g.norm() - 1e-15  # what lies nearer than that is not looked for
    assert least <= top.loss.item() <= exact * (1 + 1e-9) + 1e-15


def test_the_exact_maximum_against_a_grid() -> None:
    """The oracle above is right."""
    angle, radius = torch.meshgrid(
        torch.linspace(0, 2 * math.pi, 2001).double(), torch.linspace(0, 0.5, 101).double(), indexing="ij"
    )
    y = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).view(-1, 2)
    for seed in range(20):
        A, g = normal(2, 2, seed=seed), normal(2, seed=seed + 100) * (seed % 3) / 4
        surface = Surface((A + A.T) / 2, g)
        assert highest(surface.H, g, 0.5) == pytest.approx(surface.loss(y).max().item(), rel=1e-3, abs=1e-4)


def test_on_a_hilltop_there_is_nothing_above() -> None:
    surface = Surface(rotated(-torch.linspace(0.1, 1, 40)), c=0.5)
    top = ascend(surface, torch.zeros(1, 40, dtype=torch.float64))
    assert top.loss.item() == 0.5 and top.distance.item() == 0


def test_a_hilltop_within_the_ball_is_found() -> None:
    H, x = rotated(-torch.linspace(0.5, 1, 10)), normal(1, 10)
    top = ascend(Surface(H), 0.1 * x / x.norm(), epsilon=1.0)
    assert top.loss.item() == pytest.approx(0, abs=1e-6) and top.distance.item() < 0.2


def test_the_side_of_a_valley_that_rises_more() -> None:
    """f = y^2 + 20 y^3 is even in its second derivative alone: both ends of the top eigenvector are tried."""

    class Skewed(Surface):
        def loss(self, theta: Tensor, *, split: str = "train", walkers: Sequence[str] | None = None) -> Tensor:
            return super().loss(theta) + 20 * theta[:, 0] ** 3

    surface = Skewed(torch.diag(torch.tensor([2.0, 0.1])).double())
    assert ascend(surface, torch.zeros(3, 2).double()).loss.tolist() == pytest.approx([1.2e-4] * 3, rel=1e-2)


def test_e3_a_steep_slope_does_not_lead_out_of_the_ball() -> None:
    """The original went on until it was outside."""
    surface = Surface(torch.zeros(5, 5, dtype=torch.float64), 1e3 * torch.ones(5, dtype=torch.float64))
    top = ascend(surface, normal(3, 5))
    torch.testing.assert_close(top.loss - top.start, torch.full((3,), 1e3 * math.sqrt(5) * 0.01).double())


def test_on_networks_as_their_hessian_says() -> None:
    """In a ball so small that the surface is its quadratic model, from a start and from near a minimum."""
    landscape, epsilon = digits(), 1e-3
    for steps in (0, 3000):
        X = trained(landscape, steps)
        top = ascend(landscape, X, epsilon)
        g = landscape.grad(X)
        for k in range(2):
            H = landscape.hvp(X[k], torch.eye(landscape.size, dtype=torch.float64))
            exact = highest((H + H.T) / 2, g[k], epsilon)
            assert 0.95 * exact <= (top.loss - top.start)[k].item() <= 1.01 * exact


def test_moves_are_bounded_and_more_lead_higher() -> None:
    surface = Surface(rotated(torch.linspace(0, 1, 200)))
    rises = [ascend(surface, torch.zeros(1, 200).double(), moves=moves).loss.item() for moves in (1, 3, 10, 30)]
    assert rises == sorted(rises) and rises[0] < rises[-1]


def test_points_that_stand_are_left_alone() -> None:
    """One loss a move, of those that still climb."""
    surface, asked = Surface(torch.diag(torch.linspace(0, 1, 50)).double()), []

    def loss(theta: Tensor) -> Tensor:
        asked.append(len(theta))
        return surface.loss(theta)

    X = torch.zeros(4, 50, dtype=torch.float64)
    climb(loss, surface.grad, Ball(X, 0.01), [stream(0, f"w{k}", "test", 0) for k in range(4)], 60)
    assert asked[1:3] == [4 * STARTS, 4 * (STARTS - 1)] and len(asked) <= 61  # the gradient at the minimum is zero
    asked.clear()
    climb(loss, surface.grad, Ball(X + 1, 0.01), [stream(0, f"w{k}", "test", 0) for k in range(4)], 10**4)
    assert len(asked) < 200 and asked[-1] < 4 * STARTS


# ---- the box -------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(dim=st.integers(1, 20), seed=st.integers(0, 10**6), away=st.sampled_from([0.0, 1e-3, 1.0]))
def test_keskar_on_a_bowl(dim: int, seed: int, away: float) -> None:
    """sum_j h_j (|x_j - m_j| + epsilon (|x_j| + 1))^2 / 2: the farthest corner of the box |y_j| <= eps (|x_j| + 1)."""
    h, m = normal(dim, seed=seed).abs() + 0.1, normal(dim, seed=seed + 1)
    X, epsilon = m + away * normal(2, dim, seed=seed + 2), 1e-3
    bowl = Bowl(torch.diag(h), m)
    top = ascend(bowl, X, epsilon, region=Box)
    radius = epsilon * (X.abs() + 1)
    exact = (h * ((X - m).abs() + radius).square()).sum(dim=1) / 2
    assert ((top.theta - X).abs() <= radius * (1 + 1e-9)).all()
    assert (0.95 * (exact - top.start) <= top.loss - top.start).all() and (top.loss <= exact * (1 + 1e-9)).all()


def test_keskar_against_all_corners() -> None:
    """A convex surface is highest at a corner of the box; on a coupled one the ascent comes within 10 % of the best."""
    for seed in range(10):
        H = rotated(torch.linspace(0.01, 1, 8), seed)
        X = 0.3 * normal(1, 8, seed=seed)
        top = ascend(Surface(H), X, 0.05, region=Box)
        signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * 8)
        corners = Surface(H).loss(X + signs * 0.05 * (X.abs() + 1))
        exact = corners.max() - top.start
        assert (0.9 * exact <= top.loss - top.start).all() and (top.loss <= corners.max() * ROUNDING).all()


# ---- rows ----------------------------------------------------------------------------------------------------------


def test_rows_on_a_network() -> None:
    landscape, X = digits(l2=0.01), trained(digits(), 50)
    probe = Sharpness(formula=("keskar", "original"), epsilon=0.02, moves=20)
    rows = rows_of(probe, landscape, Points(X, ["center", "w0"]))
    assert [(row["walker"], row["formula"]) for row in rows] == [
        *(("center", "keskar"), ("center", "original"), ("w0", "keskar"), ("w0", "original"))
    ]
    for row in rows:
        x = X[:1] if row["walker"] == "center" else X[1:]
        region = Ball(x, 0.02) if row["formula"] == "original" else Box(x, 0.02)
        streams = [stream(SEED, row["walker"], f"sharpness {row['formula']}", STEP)]
        top = climb(landscape.loss, landscape.grad, region, streams, 20)
        for split in ("train", "test"):
            before, after = (landscape.loss(theta, split=split).item() for theta in (x, top.theta))
            assert row[f"{split}_sharpness"] == pytest.approx(100 * (after - before) / (1 + before), rel=1e-6)
        assert row["distance"] == pytest.approx((top.theta - x).norm().item(), rel=1e-6)
        assert (row["step"], row["epsilon"], row["moves"]) == (STEP, 0.02, top.moves.item())
        assert row["train_sharpness"] > 0
        assert row["formula"] == "keskar" or row["distance"] <= 0.02 * ROUNDING


def test_without_test_data() -> None:
    bowl = Quadratic(dim=4, curvature=2.0)
    (row,) = rows_of(Sharpness(), bowl, Points(torch.zeros(1, 4, dtype=torch.float64)))
    assert row["test_sharpness"] is None and row["train_sharpness"] == pytest.approx(100 * 1e-4)


def test_deterministic_and_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    surface, points = Surface(rotated(torch.linspace(0, 1, 30))), Points(torch.zeros(3, 30, dtype=torch.float64))
    probe = Sharpness(moves=5)
    rows = rows_of(probe, surface, points)
    assert rows == rows_of(probe, surface, points)
    assert len({row["train_sharpness"] for row in rows}) == 3  # each has a stream of its own
    assert rows_of(probe, surface, points, seed=4) != rows != rows_of(probe, surface, points, step=0)
    some = rows_of(Sharpness(moves=5, of=("w2", "w0")), surface, points)
    assert some == [pytest.approx(rows[2]), pytest.approx(rows[0])]
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", 1)
    assert rows_of(probe, surface, points) == [pytest.approx(row) for row in rows]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("formula", ["original", "keskar"])
def test_a_point_that_is_not_finite(formula: Any, wrong: float) -> None:
    landscape = digits()
    X = torch.stack([landscape.start("w0")] * 3)
    probe = Sharpness(formula=formula, moves=5)
    fine = rows_of(probe, landscape, Points(X))
    X[1, 3] = wrong
    rows = rows_of(probe, landscape, Points(X))
    assert all(math.isnan(rows[1][key]) for key in ("distance", "train_sharpness", "test_sharpness"))
    assert rows[0] == pytest.approx(fine[0]) and rows[2] == pytest.approx(fine[2])
    assert fine[1]["train_sharpness"] > 0


def test_defaults() -> None:
    probe = parse({"probes": {"sharpness": {}}}, "test").probes_of_snapshots["sharpness"]
    assert isinstance(probe, Sharpness)
    assert (probe.epsilon, probe.moves, probe.formula, probe.of) == (0.01, 100, ("original",), None)  # SPEC E.1: .01


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("epsilon", 0, "probes.sharpness.epsilon = 0: must be greater than 0"),
        ("epsilon", math.inf, "probes.sharpness.epsilon = .inf: must be"),
        ("moves", 0, "probes.sharpness.moves = 0: must be at least 1"),
        ("formula", "hessian", "probes.sharpness.formula = hessian: must be original or keskar or a list"),
        ("formula", ["original"] * 2, "probes.sharpness.formula = [original, original]: must hold each formula once"),
        ("of", ["w9"], "probes.sharpness.of = w9: must be of center, w0, w1, w2, w3"),
    ],
)
def test_bad_values(key: str, value: object, says: str) -> None:
    with pytest.raises(UserError) as error:
        parse({"probes": {"sharpness": {key: value}}}, "test")
    assert str(error.value).startswith(says) and "\n" not in str(error.value)
