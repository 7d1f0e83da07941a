"""Bias, stability and stationary variances on the noisy parabola, as the real program shows them; published values.

A linear rule is known by its response to one kick: noise of variance s2 in every step gives a variance of eta^2 s2
times the sum of the squared responses, which a run without noise shows to all digits. Runs with noise show the same
to a few per cent, and that every walker has noise of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest


@dataclass(frozen=True)
class Case:
    """A walker's rule and surface, and the variances that are published: of center, walkers' mean, and x^i - c."""

    expected: dict[str, str]
    rule: dict[str, Any] = field(default_factory=lambda: {"order": "simultaneous"})
    eta: float = 0.1
    h: float = 1.0
    alpha: float = 0.05
    p: int = 4
    s2: float = 1.0
    period: int = 1

    @property
    def coupling(self) -> dict[str, Any]:
        return {"name": "easgd", "alpha": self.alpha, "period": self.period, **self.rule}


CASES = {
    "A1": Case({"center": "0.0076213947"}),
    "A2": Case({"center": "0.05844156"}, eta=0.5, alpha=0.2),
    "A3": Case({"center": "0.0030256289"}, eta=0.2, h=2.0, alpha=0.1, p=8, s2=0.5),
    "A12": Case(
        {"center": "0.0104166667", "spread": "0.0099667774"}, {"name": "elementary", "rescale": False}, alpha=0.2
    ),
    "A13": Case({"center": "0.0077385077", "mean": "0.0110302610"}, {"order": "gradient_first"}),
    "A14": Case({"center": "0.0025273800", "mean": "0.0129825979"}, period=10),
    "center last": Case({"center": "0.0078592814"}, {"order": "center_last"}),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def parabola(bowl: Any, case: Case, **keys: Any) -> dict[str, Any]:
    keys = {"walkers": case.p, "walkers_per_process": case.p // 4, "lr": case.eta, "curvature": case.h, **keys}
    return bowl(case.coupling, **keys)


# Without noise: to all digits


@every_case
def test_variance_by_the_response_to_a_kick(case: Case, program: Any, bowl: Any, printed: Any) -> None:
    """w0 is kicked by 1 at the end of its own step; where the center sees that at once, in the run's first step."""
    late = case.rule.get("order") == "simultaneous"
    kept = 1 - case.eta * case.h - (case.alpha if case.rule.get("order") == "center_last" else 0)
    start = [1.0 if late else 1 / kept] + [0.0] * (case.p - 1)
    steps = 60 * case.period if case.period > 1 else 150
    seen = program.here(parabola(bowl, case, steps=steps, every=case.period, start=start, center_start=0.0))
    x, c = (values[0 if late else 1 :, ..., 0] for values in (seen.x, seen.c))
    plain_steps = sum((1 - case.eta * case.h) ** (2 * j) for j in range(case.period))  # that a kick decays by before
    unit = case.eta**2 * case.s2 * plain_steps
    found = {
        "center": unit * case.p * (c**2).sum(),
        "mean": unit * case.p * (x.mean(1) ** 2).sum(),
        "spread": unit * ((x - c[:, None]) ** 2).sum(),
    }
    for what, digits in case.expected.items():
        assert found[what] == printed(digits)


BIAS = {
    "A7": (0.1, 0.05, 1.0, 1.0, 10, "0.6260474450"),
    "A7 from afar": (0.1, 0.05, 1.0, 0.0, 50, "0.0232300151"),
    "A8": (0.5, 0.2, 2.0, -1.0, 7, "0.0784000000"),
}
"""eta, alpha, where walkers and center start, steps, the mean of the center."""


def biased(bowl: Any, eta: float, alpha: float, x0: float, c0: float, t: int, **keys: Any) -> dict[str, Any]:
    return parabola(bowl, Case({}, eta=eta, alpha=alpha), steps=t, every=t, start=x0, center_start=c0, **keys)


@pytest.mark.parametrize("name", BIAS)
def test_bias(name: str, program: Any, bowl: Any, printed: Any) -> None:
    """The rule is linear: its mean is a run without noise."""
    *numbers, mean = BIAS[name]
    assert program.both(biased(bowl, *numbers)).c[-1].item() == printed(mean)


def plane(c: np.ndarray) -> np.ndarray:
    """The two eigenvalues of the map behind c_0 = 0, c_1, c_2, c_3: c_(t+1) = trace c_t - det c_(t-1)."""
    trace = c[2] / c[1]
    det = (trace * c[2] - c[3]) / c[1]
    return np.sort(np.roots([1, -trace, det]))


@pytest.mark.parametrize(
    ("case", "eigenvalues"), [("A1", ["0.721922", "0.928078"]), ("A14", [None, "0.8080917536"])], ids=["A4", "A14"]
)
def test_eigenvalues(case: str, eigenvalues: list[str | None], program: Any, bowl: Any, printed: Any) -> None:
    period = CASES[case].period
    seen = program.both(parabola(bowl, CASES[case], steps=3 * period, every=period, start=1.0, center_start=0.0))
    for found, digits in zip(plane(seen.c[:, 0]), eigenvalues, strict=True):
        assert digits is None or found == printed(digits)


STABLE = {1: [(0.5, "0.857142857")], 4: [(0.5, "0.375"), (1.5, "0.25")], 8: [(1.0, "0.2")]}
"""A9: walkers -> learning rates, and the largest stable alpha for each."""


@pytest.mark.parametrize("p", STABLE)
def test_largest_stable_alpha(p: int, program: Any, bowl: Any) -> None:
    """One run goes through 100 steps just inside and 100 just outside of each range; its center shows the radius."""
    phases = [(eta, float(bound) * factor) for eta, bound in STABLE[p] for factor in (0.99, 1.01)]
    schedule = [
        {"at": 100 * k, "set": {"dynamics.lr": eta, "coupling.alpha": alpha}} for k, (eta, alpha) in enumerate(phases)
    ]
    case = Case({}, p=p)
    keys = {"walkers_per_process": -(-p // 4), "center_start": 1.0, "start": 1.0, "more": {"schedule": schedule}}
    seen = program.both(parabola(bowl, case, steps=100 * len(phases), every=10, **keys))
    for k, (eta, alpha) in enumerate(phases):
        end = seen.steps.index(100 * (k + 1))
        growth = abs(seen.c[end, 0] / seen.c[end - 1, 0]) ** 0.1
        M = [[1 - eta - alpha, alpha], [p * alpha, 1 - p * alpha]]
        assert growth == pytest.approx(max(abs(np.linalg.eigvals(M))), rel=1e-8)
        assert growth < 1 if k % 2 == 0 else growth > 1


def variance_by_recurrence(program: Any, bowl: Any, eta: float, h: float, beta: float, p: int) -> float:
    """p Var c with s2 = 1, from the first three steps after a kick to all walkers, continued to the end."""
    case = Case({}, eta=eta, h=h, alpha=beta / p, p=p)
    c = program.here(parabola(bowl, case, steps=3, start=1.0, center_start=0.0)).c[:, 0]
    lam = plane(c)
    course = (lam[1] ** np.arange(400) - lam[0] ** np.arange(400)) * c[1] / (lam[1] - lam[0])
    assert course[:4] == pytest.approx(c, abs=1e-13)
    return eta**2 * float((course**2).sum())


@pytest.mark.parametrize(
    ("eta", "h", "limit", "finite"),
    [(0.1, 1.0, "0.05158000", {10: "0.04712042", 1000: "0.05153087"}), (0.5, 2.0, "0.20454545", {})],
    ids=["A5", "A6"],
)
def test_many_walkers(
    eta: float, h: float, limit: str, finite: dict[int, str], program: Any, bowl: Any, printed: Any
) -> None:
    """p Var c at beta = 0.9; the limit by extrapolation in 1/p."""
    found = {p: variance_by_recurrence(program, bowl, eta, h, 0.9, p) for p in (250, 500, 1000, *finite)}
    for p, digits in finite.items():
        assert found[p] == printed(digits)
    first, second = (2 * found[2 * p] - found[p] for p in (250, 500))
    assert (4 * second - first) / 3 == printed(limit)


# With noise: to a few per cent


@pytest.mark.parametrize("name", ["A7", "A8"])
def test_bias_over_many_coordinates(name: str, program: Any, bowl: Any) -> None:
    *numbers, mean = BIAS[name]
    c = program.here(biased(bowl, *numbers, dim=400_000, noise=1.0)).c[-1]
    assert c.mean() == pytest.approx(float(mean), rel=0.01)
    assert c.std() > 0.05


SAMPLES, LEFT_OUT = 20, 6
"""Snapshots that count, and how many are left out at the start."""


@every_case
def test_variance_over_many_coordinates(case: Case, program: Any, bowl: Any, request: pytest.FixtureRequest) -> None:
    """4e5 samples, 20,000 independent coordinates at 20 steps: 1 % is more than three standard errors."""
    apart = 10 if case.period == 1 else 4 * case.period
    keys = {"dim": 20_000, "noise": case.s2**0.5, "start": 0.0, "every": apart, "steps": apart * (LEFT_OUT + SAMPLES)}
    over_gloo = request.node.callspec.id in ("A1", "A12")
    seen = (program.both if over_gloo else program.here)(parabola(bowl, case, **keys))
    x, c = seen.x[LEFT_OUT + 1 :], seen.c[LEFT_OUT + 1 :]
    assert c.size >= 4e5
    found = {
        "center": (c**2).mean(),
        "mean": (x.mean(1) ** 2).mean(),
        "spread": ((x - c[:, None]) ** 2).mean(),
    }
    for what, digits in case.expected.items():
        assert found[what] == pytest.approx(float(digits), rel=0.01)
