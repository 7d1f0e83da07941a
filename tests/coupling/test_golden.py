"""Trajectories of the real program: the published ones, and every step of each rule written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

FOUR = {"start": [1.0, 2.0, 3.0, 4.0], "center_start": 0.0}
THREE = {"start": [1.0, -0.4, 0.3], "center_start": 0.5, "optima": [0.5, -0.2, 0.1]}


@dataclass(frozen=True)
class Golden:
    """Where walkers and center are published to be after `steps` with eta = 0.1, h = 1."""

    coupling: dict[str, Any]
    c: str
    x: str | None = None
    landscape: dict[str, Any] | None = None
    steps: int = 20


def easgd(order: str, period: int = 1) -> dict[str, Any]:
    return {"name": "easgd", "alpha": 0.05, "order": order, "period": period}


GOLDEN = {
    "G1": Golden(easgd("simultaneous"), ".5414960712", ".2923245518 .3310840829 .3698436140 .4086031451"),
    "G2": Golden(easgd("gradient_first"), ".4883484662", ".2816702015 .3252537207 .3688372398 .4124207590"),
    "G3": Golden(
        {"name": "elementary", "alpha": 0.05}, ".3207961358", ".2554208571 .2990043762 .3425878954 .3861714146"
    ),
    "G4": Golden({"name": "elementary", "alpha": 0.2}, ".300955142", ".52089072 .0887006 .29327411", THREE, 5),
    "G4 without rescale": Golden({"name": "elementary", "alpha": 0.2, "rescale": False}, ".271835972", None, THREE, 5),
    "G10": Golden(easgd("center_last"), ".4621235104", ".2580677403 .2968272714 .3355868025 .3743463336"),
    "G11": Golden(easgd("gradient_first", 5), ".3883541699", ".1357459914 .2347709364 .3337958814 .4328208264"),
}


@pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN)
def test_published_trajectory_here_and_over_gloo(golden: Golden, program: Any, bowl: Any) -> None:
    landscape = golden.landscape or FOUR
    seen = program.both(
        bowl(golden.coupling, steps=golden.steps, walkers=len(landscape["start"]), curvature=1.0, **landscape)
    )
    assert seen.c[-1].item() == pytest.approx(float(golden.c), rel=0, abs=1e-8)
    if golden.x:
        x = [float(digits) for digits in golden.x.split()]
        assert seen.x[-1].ravel().tolist() == pytest.approx(x, rel=0, abs=1e-8)


BENT = {"dim": 3, "curvature": [0.3, 1.0, 2.5], "start": [1.0, -2.0, 3.0, 0.5], "optima": [0.2, -0.1, 0.4, 0.0]}
RULES = [
    *({"name": "easgd", "alpha": 0.1, "order": order} for order in ("simultaneous", "center_last", "gradient_first")),
    {"name": "easgd", "alpha": 0.1, "beta": 0.7, "order": "simultaneous"},
    {"name": "easgd", "alpha": -0.2, "beta": 1.0, "order": "gradient_first"},
    {"name": "elementary", "alpha": 0.1},
    {"name": "elementary", "alpha": 0.3, "rescale": False},
]


@pytest.mark.parametrize(("period", "momentum"), [(1, 0.0), (3, 0.6)])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(str(value) for value in rule.values()))
def test_every_step_of_a_rule(
    rule: dict[str, Any],
    period: int,
    momentum: float,
    program: Any,
    bowl: Any,
    written_out: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> None:
    """Several coordinates, which the norm of `elementary` ties together; the center starts at the walkers' mean."""
    experiment = bowl({**rule, "period": period}, steps=12, dynamics={"momentum": momentum}, **BENT)
    seen = program.here(experiment)
    x, c = written_out(experiment)
    np.testing.assert_allclose(seen.x, x, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(seen.c, c, rtol=1e-13, atol=1e-14)


def test_without_forces_the_center_is_the_mean(program: Any, bowl: Any, written_out: Any) -> None:
    experiment = bowl({"name": "none"}, steps=12, dynamics={"momentum": 0.5}, **BENT)
    seen = program.both(experiment)
    x, c = written_out(experiment)
    np.testing.assert_allclose(seen.x, x, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(seen.c, c, rtol=1e-13, atol=1e-14)


def test_elementary_with_all_walkers_at_opposite_places_keeps_a_finite_center(program: Any, bowl: Any) -> None:
    """The original divides by |m| = 0."""
    seen = program.here(
        bowl({"name": "elementary"}, walkers=2, steps=5, start=[1.0, -1.0], center_start=0.0, curvature=1.0)
    )
    assert (seen.c == 0).all() and np.isfinite(seen.x).all() and (seen.x[-1] != seen.x[0]).all()
