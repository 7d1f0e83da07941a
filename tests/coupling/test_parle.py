"""Parle: the published numbers, the authors' program written out, and what it becomes without one or more terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import walkers_dist as wd
from walkers_dist.config.load import parse

BENT = {"dim": 3, "curvature": [0.3, 1.0, 2.5], "start": [1.0, -2.0, 3.0, 0.5], "optima": [0.2, -0.1, 0.4, 0.0]}
H, OPTIMA = np.array(BENT["curvature"]), np.array(BENT["optima"])[:, None]
START = np.repeat(np.array(BENT["start"])[:, None], 3, 1)


def test_published_numbers_here_and_over_gloo(program: Any, bowl: Any, printed: Any) -> None:
    """C5."""
    rule = {"name": "parle", "gamma": 100.0, "rho": 1.0, "outer_lr": 0.1, "outer_momentum": 0.0}
    land = {"curvature": 1.0, "optima": [-1.0, 0.0, 2.0], "start": 1.0}
    seen = program.both(bowl(rule, walkers=3, steps=250, every=25, **land))
    for x, digits in zip(seen.x[-1, :, 0], [".04793062", ".45966327", "1.28312857"], strict=True):
        assert x == printed(digits)
    assert seen.c[-1].item() == printed(".5969074849")


@pytest.mark.parametrize("variant", ["paper", "mpi"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_written_out(variant: str, momentum: float, program: Any, bowl: Any) -> None:
    """With scoping down to its floors; `mpi` as `parle_mpi.py` has it, with Nesterov's momentum as torch has it."""
    rule = {
        "name": "parle", "variant": variant, "period": 4, "gamma": 8.0, "rho": 2.0, "decay": 0.2, "gamma_floor": 5.0,
        "rho_floor": 1.5, "outer_lr": 0.3, "outer_momentum": momentum,
    }  # fmt: skip
    inner = {"momentum": momentum, "nesterov": momentum > 0}
    seen = program.both(bowl(rule, steps=25, lr=0.05, dynamics=inner, **BENT))
    y = xa = za = START
    muy, mux = np.zeros_like(y), np.zeros_like(y)
    for t in range(26):
        np.testing.assert_allclose(seen.x[t], y, rtol=0, atol=1e-12)
        np.testing.assert_allclose(seen.c[t], y.mean(0), rtol=0, atol=1e-12)
        gamma, rho = max(8 * 0.8 ** (t // 4), 5), max(2 * 0.8 ** (t // 4), 1.5)
        g = H * (y - OPTIMA) + (y - xa) / gamma
        muy = momentum * muy + g
        y = y - 0.05 * (g + momentum * muy)
        za = 0.75 * za + 0.25 * y
        if (t + 1) % 4 == 0:
            c = (xa if variant == "paper" else za).mean(0)
            g = (xa - za) + (xa - c) / rho
            mux = momentum * mux + g
            y = xa = (xa if variant == "paper" else y) - 0.3 * (g + momentum * mux)
            if variant == "paper":
                za, muy = y, np.zeros_like(y)


def test_one_walker_is_entropy_sgd(program: Any, bowl: Any) -> None:
    """n = 1: c is x itself; also with the outer momentum, and noisy gradients."""
    land = {"dim": 3, "curvature": [0.3, 1.0, 2.5], "start": 2.0, "noise": 0.3, "walkers": 1}
    rule = {"name": "parle", "period": 5, "gamma": 2.0, "outer_lr": 0.4, "outer_momentum": 0.8}
    mine = program.here(bowl(rule, steps=50, every=5, lr=0.1, **land))
    inner = {"inner_steps": 5, "inner_lr": 0.1, "inner_momentum": 0.0, "noise": 0.0, "gamma": 0.5, "scoping": 0.0}
    entropy = {"name": "entropy_sgd", "lr": 0.4, "momentum": 0.8, **inner}
    other = program.here({**bowl({"name": "none"}, steps=50, every=5, **land), "dynamics": entropy})
    np.testing.assert_allclose(mine.x, other.x, rtol=0, atol=1e-13)
    assert abs(mine.x[-1] - mine.x[0]).min() > 0.01


def test_without_walks_it_is_elastic_sgd(program: Any, bowl: Any) -> None:
    """L = 1 and no gamma: x - z = (1 - b) l g, so it is replicated SGD with 2 g = 1 / (rho (1 - b) l)."""
    rule = {"name": "parle", "period": 1, "gamma": None, "rho": 5.0, "outer_lr": 0.5, "outer_momentum": 0.0}
    mine = program.here(bowl(rule, steps=20, lr=0.4, noise=0.1, **BENT))
    elastic = {"name": "replicated", "g": 1 / (2 * 5.0 * 0.25 * 0.4)}
    other = program.here(bowl(elastic, steps=20, lr=0.5 * 0.25 * 0.4, noise=0.1, **BENT))
    np.testing.assert_allclose(mine.x, other.x, rtol=0, atol=1e-13)
    assert abs(mine.x[-1] - mine.x[0]).max() > 0.1


def test_without_walks_and_forces_it_is_nesterov_s_sgd(program: Any, bowl: Any) -> None:
    """n = 1, L = 1 and neither term."""
    land = {"dim": 2, "curvature": [0.3, 1.0], "start": 2.0, "noise": 0.1, "walkers": 1}
    rule = {"name": "parle", "period": 1, "gamma": None, "rho": None, "ema": 0.0, "outer_lr": 1.0}
    mine = program.here(bowl(rule, steps=30, lr=0.05, **land))
    sgd = {"momentum": 0.9, "nesterov": True}
    other = program.here(bowl({"name": "none"}, steps=30, lr=0.05, dynamics=sgd, **land))
    np.testing.assert_allclose(mine.x, other.x, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"gamma": 0}, "coupling.gamma = 0: must be a number greater than 0 or null"),
        ({"decay": 1.0}, "coupling.decay = 1.0: must be at least 0 and less than 1"),
        ({"variant": "lua"}, "coupling.variant = lua: must be paper or mpi"),
        ({"period": 0}, "coupling.period = 0: must be at least 1"),
        ({"rho_floor": 0.0}, "coupling.rho_floor = 0.0: must be greater than 0"),
    ],
)
def test_impossible_values(keys: dict[str, object], line: str) -> None:
    with pytest.raises(wd.UserError) as error:
        parse({"landscape": {"kind": "quadratic"}, "coupling": {"name": "parle", **keys}}, "x")
    assert str(error.value) == line
