"""Distances and cosines, against exact fractions and against a loop over pairs."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from fractions import Fraction
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from walkers_dist.probes import distances as module
from walkers_dist.probes.distances import Distances, distances


def names_of(walkers: int) -> list[str]:
    return ["center", *(f"w{i}" for i in range(walkers))]


def exact(a: list[float], b: list[float]) -> tuple[float, float]:
    """Distance and cosine in fractions, rounded at the very end."""
    A, B = [Fraction(v) for v in a], [Fraction(v) for v in b]
    square = sum((x - y) ** 2 for x, y in zip(A, B, strict=True))
    dot, aa, bb = (sum(x * y for x, y in zip(u, v, strict=True)) for u, v in ((A, B), (A, A), (B, B)))
    return math.sqrt(square), float(dot) / math.sqrt(aa * bb)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_pairs_in_order(dtype: torch.dtype) -> None:
    X = torch.randn(5, 33, dtype=dtype, generator=torch.Generator().manual_seed(0))
    rows = distances(X, names_of(4))
    assert [(a, b) for a, b, _, _ in rows] == list(itertools.combinations(names_of(4), 2))
    for (i, j), (_, _, distance, cosine) in zip(itertools.combinations(range(5), 2), rows, strict=True):
        d, cos = exact(X[i].tolist(), X[j].tolist())
        assert distance == pytest.approx(d, rel=1e-14)
        assert cosine == pytest.approx(cos, abs=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_close_points_far_from_zero_lose_no_digits(dtype: torch.dtype) -> None:
    base = 1000 + torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    X = torch.stack([base, base]).to(dtype)
    X[1, 7] = torch.nextafter(X[0, 7], X.new_tensor(2000.0))  # one unit in the last place
    ((_, _, distance, cosine),) = distances(X, ["w0", "w1"])
    assert distance == (X[1, 7].double() - X[0, 7].double()).item() > 0
    assert cosine == pytest.approx(1, abs=1e-14) and cosine <= 1


def test_the_wrong_way_would_be_seen() -> None:
    """The oracle above does tell |a|^2 + |b|^2 - 2 a.b from differences."""
    a = torch.full((50,), 1000.0, dtype=torch.float64)
    b = a.clone()
    b[7] += 1e-10
    ((_, _, distance, _),) = distances(torch.stack([a, b]), ["w0", "w1"])
    gram = (a @ a + b @ b - 2 * (a @ b)).abs().sqrt().item()
    assert distance == pytest.approx(1e-10, rel=1e-3) and gram != pytest.approx(1e-10, rel=0.5)


@pytest.mark.parametrize(
    ("walkers", "pairs", "rows"),
    [(16, "auto", 136), (17, "auto", 17), (17, "all", 153), (3, "center", 3), (1, "auto", 1)],
)
def test_which_pairs(walkers: int, pairs: module.Pairs, rows: int) -> None:
    X = torch.randn(walkers + 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = distances(X, names_of(walkers), pairs)
    assert len(found) == rows
    if rows == walkers:
        everything = {(a, b): (d, c) for a, b, d, c in distances(X, names_of(walkers), "all")}
        assert [(a, b) for a, b, _, _ in found] == [("center", f"w{i}") for i in range(walkers)]
        assert all(everything[a, b] == pytest.approx((d, c), rel=1e-14) for a, b, d, c in found)


def test_one_walker_without_center_has_no_pairs() -> None:
    assert distances(torch.ones(1, 4), ["w0"]) == [] == distances(torch.ones(1, 4), ["w0"], "center")


def test_columns_come_in_bounded_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    X = torch.randn(4, 1001, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    whole = distances(X, names_of(3))
    sizes: list[int] = []
    original = torch.cdist

    def cdist(a: Tensor, b: Tensor, **options: Any) -> Tensor:
        sizes.append(b.numel())
        return original(a, b, **options)

    monkeypatch.setattr(torch, "cdist", cdist)
    monkeypatch.setattr(module, "BLOCK", 40)
    for one, other in zip(whole, distances(X, names_of(3)), strict=True):
        assert one[2:] == pytest.approx(other[2:], rel=1e-13)
    assert len(sizes) == 101 and max(sizes) <= 40


def test_equal_opposite_zero_and_diverged() -> None:
    X = torch.tensor([[3.0, 4.0], [3.0, 4.0], [-3.0, -4.0], [0.0, 0.0], [math.nan, 1.0]])
    rows = {(a, b): (d, c) for a, b, d, c in distances(X, names_of(4))}
    assert rows["center", "w0"] == (0, 1)
    assert rows["center", "w1"] == (10, -1)
    assert rows["center", "w2"][0] == 5 and math.isnan(rows["center", "w2"][1])
    assert all(math.isnan(number) for number in rows["center", "w3"])


def test_configuration() -> None:
    assert (Distances().every, Distances().pairs, Distances().name) == (10, "auto", "distances")
    wrongs: list[dict[str, Any]] = [{"every": 0}, {"pairs": "some"}, {"pair": "all"}]
    for wrong in wrongs:
        with pytest.raises(ValidationError):
            Distances(**wrong)


def test_configuration_does_not_load_torch() -> None:
    code = "import sys, walkers_dist.probes.distances; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
