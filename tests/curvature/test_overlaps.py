"""Overlaps of subspaces: closed forms, principal angles by singular values, and what random ones have on average."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from walkers_dist.curvature.overlaps import overlap, share


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rows(k: int, P: int, seed: int) -> Tensor:
    return torch.linalg.qr(draw(P, k, seed=seed)).Q.T


def test_of_two_lines_it_is_the_squared_cosine():
    for angle in (0.0, 0.3, 1.0, math.pi / 2):
        U, V = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[math.cos(angle), math.sin(angle), 0.0]])
        assert overlap(U, V) == pytest.approx(math.cos(angle) ** 2, abs=1e-7)


def test_of_two_planes_that_share_a_line():
    """One principal angle is 0, the other 0.7."""
    U = torch.eye(4, dtype=torch.float64)[:2]
    V = torch.tensor([[1.0, 0, 0, 0], [0, math.cos(0.7), 0, math.sin(0.7)]], dtype=torch.float64)
    assert overlap(U, V) == overlap(V, U) == pytest.approx((1 + math.cos(0.7) ** 2) / 2, rel=1e-14)


def test_it_is_the_mean_squared_cosine_of_the_principal_angles():
    U, V = rows(4, 30, seed=1), rows(4, 30, seed=2)
    cosines = torch.linalg.svdvals(U @ V.T)
    assert overlap(U, V) == pytest.approx(float(cosines.square().mean()), rel=1e-12)


def test_a_subspace_has_no_basis():
    """Turned, and with other signs, it is the same; in single precision too, and never more than 1."""
    U = rows(5, 40, seed=3)
    turned = torch.linalg.qr(draw(5, 5, seed=4)).Q @ U
    V = rows(5, 40, seed=5)
    assert overlap(U, turned) == pytest.approx(1, abs=1e-13)
    assert overlap(turned, V) == pytest.approx(overlap(U, V), rel=1e-12)
    assert 1 - 1e-12 < overlap(U.float(), -U.float()) <= 1 + 1e-14
    assert overlap(U.float(), V) == pytest.approx(overlap(U, V), abs=1e-6)


def test_random_subspaces_overlap_by_k_over_P():
    k, P, n = 3, 50, 400
    found = torch.tensor([overlap(rows(k, P, seed=2 * i), rows(k, P, seed=2 * i + 1)) for i in range(n)])
    assert abs(float(found.mean()) - k / P) < 4 * float(found.std()) / n**0.5


def test_of_different_numbers_the_first_of_each_are_compared():
    U, V = rows(3, 20, seed=1), rows(5, 20, seed=2)
    assert overlap(U, V) == overlap(V, U) == overlap(U, V[:3])
    assert math.isnan(overlap(U, V[:0])) and math.isnan(overlap(torch.empty(0, 0), V))


def test_the_share_of_a_vector():
    U = torch.eye(4)[:2]
    assert share(U, torch.tensor([3.0, 0, 4.0, 0])) == pytest.approx(9 / 25)
    assert share(U, torch.tensor([1.0, 2.0, 0, 0])) == pytest.approx(1)
    assert share(U, 1e-100 * torch.tensor([0, 0, 1.0, 0], dtype=torch.float64)) == 0
    for g in (torch.zeros(4), torch.tensor([math.nan, 0, 0, 0]), torch.tensor([math.inf, 0, 0, 0])):
        assert math.isnan(share(U, g))
    assert math.isnan(share(U[:0], torch.ones(4)))
