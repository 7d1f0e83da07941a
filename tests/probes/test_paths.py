"""Paths between two points: SPEC E.3's digits, closed forms in the plane, and what has no direction."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from walkers_dist.probes import paths
from walkers_dist.probes.paths import Path, evenly, points_between, rows_at_once

PATHS: tuple[Path, ...] = get_args(Path)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def point(a: Tensor, b: Tensor, t: float, path: Path) -> Tensor:
    (row,) = points_between(a, b, vector(t), path)
    return row


def random_points(n: int, P: int) -> Tensor:
    return torch.randn(n, P, dtype=torch.float64, generator=torch.Generator().manual_seed(n))


def test_e3_spherical_inside() -> None:
    """SPEC E.3: spherical_convex_combination([3, 4], [0, 2], .5), to its printed digits."""
    x = point(vector(3, 4), vector(0, 2), 0.5, "spherical")
    assert x.tolist() == pytest.approx([1.5652475842, 3.1304951685], abs=5e-11)


def test_e3_spherical_outside_turns_nothing_around() -> None:
    """SPEC E.3: at a = 2 the target norm is -1; the original returns (1, 0), against the direction of (-3, 0)."""
    x = point(vector(3, 4), vector(0, 2), 2.0, "spherical")
    assert x.tolist() == pytest.approx([-1, 0], abs=1e-15)


coordinate = st.floats(-10, 10).filter(lambda x: x == 0 or abs(x) > 1e-3)
pair = st.integers(1, 6).flatmap(
    lambda P: st.tuples(*[st.lists(coordinate, min_size=P, max_size=P).map(lambda v: vector(*v))] * 2)
)


@given(pair, st.floats(-3, 3))
@settings(max_examples=200, deadline=None)
def test_spherical_is_linear_at_another_norm(points: tuple[Tensor, Tensor], t: float) -> None:
    a, b = points
    straight, x = point(a, b, t, "linear"), point(a, b, t, "spherical")
    wanted = abs((1 - t) * a.norm() + t * b.norm()) if straight.norm() else 0.0
    assert float(x.norm()) == pytest.approx(float(wanted), rel=1e-12, abs=1e-12)
    assert float(x @ straight) == pytest.approx(float(x.norm() * straight.norm()), rel=1e-9)


@given(pair, st.floats(-3, 3), st.sampled_from(PATHS))
@settings(max_examples=200, deadline=None)
def test_nothing_is_ever_nan(points: tuple[Tensor, Tensor], t: float, path: Path) -> None:
    assert point(*points, t, path).isfinite().all()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("t", [-1.0, 0.0, 0.3, 1.0, 2.0])
def test_between_equal_points_there_is_only_that_point(path: Path, t: float) -> None:
    """At the start all walkers are equal: a norm of |1 - t| |a| + |t| |b| would leave the point outside [0, 1]."""
    (a,) = random_points(1, 50)
    torch.testing.assert_close(point(a, a, t, path), a, rtol=1e-14, atol=0)


@pytest.mark.parametrize("path", PATHS)
def test_ends_are_the_points(path: Path) -> None:
    a, b = random_points(2, 1000)
    torch.testing.assert_close(points_between(a, b, vector(0, 1), path), torch.stack([a, b]), rtol=1e-14, atol=1e-14)


def test_linear_is_the_straight_line() -> None:
    x = points_between(vector(1, 2), vector(3, -2), vector(-1, 0.25, 2), "linear")
    assert x.tolist() == [[-1, 6], [1.5, 1], [5, -6]]


@pytest.mark.parametrize("degrees", [1e-6, 0.1, 60.0, 90.0, 179.0])
@pytest.mark.parametrize("t", [-1.0, -0.2, 0.0, 0.25, 1.0, 1.5, 2.0])
def test_slerp_turns_by_the_angle(degrees: float, t: float) -> None:
    """In a plane a turned by t of the angle is a rotation; norms 2 and 3 in between are interpolated."""
    w, start = math.radians(degrees), 0.4
    a = 2 * vector(math.cos(start), math.sin(start))
    b = 3 * vector(math.cos(start + w), math.sin(start + w))
    turned = (2 * (1 - t) + 3 * t) * vector(math.cos(start + t * w), math.sin(start + t * w))
    torch.testing.assert_close(point(a, b, t, "slerp"), turned, rtol=1e-12, atol=1e-12)


def test_slerp_in_many_dimensions_goes_at_a_steady_pace() -> None:
    a, b = random_points(2, 300)
    x = points_between(a, b, vector(*evenly(0, 1, 11)), "slerp")
    cosines = torch.nn.functional.cosine_similarity(x[1:], x[:-1])
    whole = torch.acos(torch.nn.functional.cosine_similarity(a, b, dim=0))
    torch.testing.assert_close(torch.acos(cosines), (whole / 10).expand(10), rtol=1e-9, atol=0)


@pytest.mark.parametrize("path", ["spherical", "slerp"])
def test_without_a_direction(path: Path) -> None:
    a = vector(3, 4)
    assert point(a, -a, 0.5, path).tolist() == [0, 0]  # the original: NaN
    assert point(0 * a, 0 * a, 0.5, path).tolist() == [0, 0]
    for t in (-1.0, 0.25, 2.0):
        assert point(0 * a, a, t, path).tolist() == pytest.approx((t * a).tolist())
        if t > 0:
            assert point(a, 3 * a, t, path).tolist() == pytest.approx(((1 + 2 * t) * a).tolist())


@pytest.mark.parametrize("path", PATHS)
def test_many_paths_at_once_are_each_by_itself(path: Path) -> None:
    """Among them one that is not finite, one of equal points and one of opposite ones: none disturbs another."""
    A, B = random_points(6, 40), random_points(5, 40)[[0, 1, 2, 3, 4, 0]]
    A[1, 7], B[2], B[3] = math.nan, A[2], -A[3]
    t = vector(-1, 0.5, 0.5, 0.5, 1.7, 2)
    together = points_between(A, B, t, path)
    alone = torch.stack([point(a, b, float(s), path) for a, b, s in zip(A, B, t, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-13, atol=1e-13, equal_nan=True)
    assert together.isfinite().all(dim=1).tolist() == [True, False, True, True, True, True]


def test_e1_coefficients_are_the_originals() -> None:
    """SPEC E.1, resolution 10, c1 = -1, c2 = 2: l / 10 for l = -10 … 20, each the double next to it."""
    assert evenly(-1, 2, 31) == [l / 10 for l in range(-10, 21)]
    assert evenly(-0.5, 0.5, 51)[25] == 0


def test_few_large_points_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [rows_at_once(torch.empty(P)) for P in (1, 3190, 89_610, 2_000_000, 5_000_000)] == [4, 4, 4, 2, 1]
    monkeypatch.setattr(paths, "NUMBERS_AT_ONCE", 30)
    assert rows_at_once(torch.empty(10)) == 3
