"""Replicated SGD: published numbers, the program of Pittorino et al. written with torch, and what it becomes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import walkers_dist as wd
from walkers_dist.config.load import parse

THREE = {"curvature": 1.0, "optima": [-1.0, 0.0, 2.0], "start": 0.0, "walkers": 3}
BENT = {"dim": 3, "curvature": [0.3, 1.0, 2.5], "start": [1.0, -2.0, 3.0, 0.5], "optima": [0.2, -0.1, 0.4, 0.0]}


def test_published_trajectory_here_and_over_gloo(program: Any, bowl: Any, printed: Any) -> None:
    """C6."""
    rule = {"name": "replicated", "g": 0.1, "scoping": {"rate": 0.05}}
    seen = program.both(bowl(rule, steps=30, **THREE))
    for x, digits in zip(seen.x[-1, :, 0], ["-.47724457", ".12009107", "1.31476234"], strict=True):
        assert x == printed(digits)
    assert seen.c[-1].item() == printed(".3192029472")
    np.testing.assert_allclose(seen.c, seen.x.mean(1), rtol=0, atol=1e-15)


def test_published_fixed_point(program: Any, bowl: Any, printed: Any) -> None:
    """C7, to its printed digits; and mbar + h / (h + 2g) (m_a - mbar)."""
    seen = program.both(bowl({"name": "replicated", "g": 2.0}, steps=400, every=400, **THREE))
    for x, digits, m in zip(seen.x[-1, :, 0], [".0666667", ".2666667", ".6666667"], THREE["optima"], strict=True):
        assert x == printed(digits)
        assert x == pytest.approx(1 / 3 + (m - 1 / 3) / 5, abs=1e-12)


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_it_descends_the_loss_of_the_original_program(traced: bool, momentum: float, program: Any, bowl: Any) -> None:
    """(mean_a f_a + g mean_a |w_a - c|^2) with autograd, the mean detached or c a parameter, and lr times y."""
    rule = {"name": "replicated", "g": 0.2, "traced": traced, "scoping": {"rate": 0.03, "every": 4}}
    keys = {"momentum": momentum, "nesterov": momentum > 0}
    seen = program.both(bowl(rule, steps=20, lr=0.05, dynamics=keys, **BENT))
    h, m = (torch.tensor(BENT[key], dtype=torch.float64) for key in ("curvature", "optima"))
    w = [torch.full((3,), at, dtype=torch.float64, requires_grad=True) for at in BENT["start"]]
    c = torch.full((3,), sum(BENT["start"]) / 4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD(w if traced else [*w, c], 0.05 * 4, momentum, nesterov=momentum > 0)
    for t in range(20):
        mean = sum(w).detach() / 4
        np.testing.assert_allclose(seen.x[t], torch.stack(w).detach(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(seen.c[t], mean if traced else c.detach(), rtol=0, atol=1e-12)
        center, g = (mean if traced else c), 0.2 * 1.03 ** (t // 4)
        f = sum((h * (x - at) ** 2).sum() / 2 for x, at in zip(w, m, strict=True)) / 4
        optimiser.zero_grad()
        (f + g * sum(((x - center) ** 2).sum() for x in w) / 4).backward()
        optimiser.step()


def test_with_an_explicit_center_and_plain_steps_it_is_easgd(program: Any, bowl: Any) -> None:
    """alpha = 2 eta g."""
    land = {**BENT, "center_start": 0.3}
    mine = program.here(bowl({"name": "replicated", "g": 0.25, "traced": False, "period": 3}, steps=25, **land))
    elastic = program.here(bowl({"name": "easgd", "alpha": 0.05, "period": 3}, steps=25, **land))
    np.testing.assert_allclose(mine.x, elastic.x, rtol=0, atol=1e-14)
    np.testing.assert_allclose(mine.c, elastic.c, rtol=0, atol=1e-14)


def test_one_replica_is_sgd_and_so_are_those_without_a_force(program: Any, bowl: Any) -> None:
    alone = program.here(bowl({"name": "none"}, steps=10, noise=0.2, **BENT))
    free = program.here(bowl({"name": "replicated", "g": 0.0}, steps=10, noise=0.2, **BENT))
    np.testing.assert_array_equal(free.x, alone.x)
    one = {**BENT, "start": 1.0, "optima": 0.2, "walkers": 1, "noise": 0.2}
    runs = [program.here(bowl(rule, steps=10, **one)) for rule in ({"name": "none"}, {"name": "replicated", "g": 3.0})]
    np.testing.assert_allclose(runs[0].x, runs[1].x, rtol=0, atol=1e-15)


@pytest.mark.parametrize("traced", [True, False])
def test_automatic_g_is_the_mean_loss_over_the_spread_at_the_start(traced: bool, program: Any, bowl: Any) -> None:
    """The same as its number given; also where the center starts off the mean."""
    land = {**BENT, "center_start": 0.4}
    start = np.repeat(np.array(BENT["start"])[:, None], 3, 1)
    losses = (np.array(BENT["curvature"]) * (start - np.array(BENT["optima"])[:, None]) ** 2 / 2).sum(1)
    c = start.mean(0) if traced else 0.4
    g = losses.mean() / ((start - c) ** 2).sum(1).mean()
    scoping = {"law": "exponential", "rate": 0.05}
    runs = [
        program.both(
            bowl({"name": "replicated", "g": value, "traced": traced, "scoping": scoping}, steps=12, lr=0.03, **land)
        )
        for value in ("auto", float(g))
    ]
    np.testing.assert_allclose(runs[0].x, runs[1].x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(runs[0].c, runs[1].c, rtol=0, atol=1e-12)


def test_with_entropy_sgd_it_is_esgd(program: Any, bowl: Any) -> None:
    """L = 5, and by hand: x <- x - eta [(x - mu) + 2 g (x - c)]."""
    inner = {"inner_steps": 5, "inner_momentum": 0.0, "noise": 0.0, "gamma": 0.5, "scoping": 0.0, "momentum": 0.0}
    keys = bowl({"name": "replicated", "g": 0.3}, steps=20, **BENT)
    seen = program.here({**keys, "dynamics": {"name": "entropy_sgd", "lr": 0.4, **inner}})
    h, optima = np.array(BENT["curvature"]), np.array(BENT["optima"])[:, None]
    x = np.repeat(np.array(BENT["start"])[:, None], 3, 1)
    for outer in range(5):
        np.testing.assert_allclose(seen.x[5 * outer], x, rtol=0, atol=1e-13)
        y, mu = x, x
        for _ in range(5):
            y = y - 0.1 * (h * (y - optima) + 0.5 * (y - x))
            mu = 0.75 * mu + 0.25 * y
        x = x - 0.4 * ((x - mu) + 0.6 * (x - x.mean(0)))


@pytest.mark.parametrize(
    "keys",
    [
        {"landscape": {"kind": "quadratic"}},
        {"landscape": {"kind": "quadratic", "start": [1.0]}, "walkers": 1},
        {"landscape": {"kind": "multiplicative"}},
        {},
    ],
)
def test_an_automatic_g_needs_a_spread(keys: dict[str, Any]) -> None:
    with pytest.raises(wd.UserError) as error:
        parse({**keys, "coupling": {"name": "replicated", "g": "auto"}}, "x")
    assert str(error.value) == (
        "coupling.g = auto: must be a number where all walkers start at one point: it is a loss over their spread"
    )


@pytest.mark.parametrize(("value", "line"), [(-1.0, "coupling.g = -1.0: must be"), ("automatic", "coupling.g = autom")])
def test_a_g_that_is_none(value: object, line: str) -> None:
    with pytest.raises(wd.UserError) as error:
        parse({"landscape": {"kind": "quadratic"}, "coupling": {"name": "replicated", "g": value}}, "x")
    assert str(error.value).startswith(line) and "\n" not in str(error.value)
