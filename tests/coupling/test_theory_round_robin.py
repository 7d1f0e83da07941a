"""Stability of EASGD and ADMM in turns: published radii, and walkers that take turns one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from walkers_dist.coupling import theory_round_robin as theory


def test_radius_of_easgd(printed: Any) -> None:
    """A10."""
    assert theory.cycle_radius(theory.easgd_cycle(0.5, 1, 0.3, 3)) == printed("0.6900222988")
    assert theory.cycle_radius(theory.easgd_cycle(0.5, 1, 1.01 * 0.857142857, 1)) > 1


@pytest.mark.parametrize(
    ("p", "admm", "easgd"),
    [(3, "1.0009738854", ".99926975"), (8, "1.0022578662", ".99911570"), (1, "0.9990024938", ".99954951")],
)
def test_radius_of_admm(p: int, admm: str, easgd: str, printed: Any) -> None:
    """A11: ADMM is unstable where EASGD with alpha = eta rho is stable."""
    assert theory.cycle_radius(theory.admm_cycle(0.001, 1, 2.5, p)) == printed(admm)
    assert theory.cycle_radius(theory.easgd_cycle(0.001, 1, 0.001 * 2.5, p)) == printed(easgd)


def test_admm_of_two_is_stable() -> None:
    assert theory.cycle_radius(theory.admm_cycle(0.001, 1, 2.5, 2)) < 1


@pytest.mark.parametrize(
    ("p", "unstable"),
    [
        *((1, ".857143"), (3, ".857143"), (5, ".857143"), (7, ".857143")),
        *((2, ".8911"), (4, ".8661"), (6, ".8613"), (8, ".8595")),
    ],
)
def test_first_unstable_alpha(p: int, unstable: str, printed: Any) -> None:
    """SPEC A.4.5: the bound is exact for odd p, and a little less than what is stable for even p."""
    low, high = 0.8, 0.95
    for _ in range(60):
        middle = (low + high) / 2
        stable = theory.cycle_radius(theory.easgd_cycle(0.5, 1, middle, p)) <= 1 + 1e-12
        low, high = (middle, high) if stable else (low, middle)
    assert low == printed(unstable)
    bound = theory.easgd_largest_stable_alpha(0.5, 1)
    assert (low == pytest.approx(bound, abs=1e-9)) is (p % 2 == 1) and low > bound - 1e-9


@pytest.mark.parametrize("p", [1, 2, 3, 6])
@pytest.mark.parametrize(("eta", "h"), [(0.1, 1.0), (0.7, 2.5), (0.5, 4.0)])
def test_the_bound_is_safe_for_every_p(p: int, eta: float, h: float) -> None:
    bound = theory.easgd_largest_stable_alpha(eta, h)
    assert theory.cycle_radius(theory.easgd_cycle(eta, h, bound, p)) <= 1 + 1e-9
    assert theory.easgd_largest_stable_alpha(2.1, 1) == 0


def test_easgd_cycle_is_p_walkers_in_turn() -> None:
    eta, h, alpha, p = 0.3, 1.5, 0.2, 4
    x, c = [1.0, -2.0, 0.5, 3.0], 0.7
    expected = theory.easgd_cycle(eta, h, alpha, p) @ [*x, c]
    for i in range(p):
        d = alpha * (x[i] - c)
        x[i], c = x[i] - eta * h * x[i] - d, c + d
    np.testing.assert_allclose([*x, c], expected, rtol=1e-14)


def test_admm_cycle_is_p_walkers_in_turn() -> None:
    eta, h, rho, p = 0.3, 1.5, 2.0, 3
    x, l, c = [1.0, -2.0, 0.5], [0.1, 0.4, -0.3], 0.7
    expected = theory.admm_cycle(eta, h, rho, p) @ [*x, *l, c]
    for i in range(p):
        l[i] -= x[i] - c
        x[i] = (x[i] - eta * h * x[i] + eta * rho * (l[i] + c)) / (1 + eta * rho)
        c = sum(xj - lj for xj, lj in zip(x, l, strict=True)) / p
    np.testing.assert_allclose([*x, *l, c], expected, rtol=1e-14)
