"""The real program, in this process and over gloo: experiments given as mappings; and kinds stepped by themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import walkers_dist as wd
from walkers_dist.config.kinds import Coupling, Dynamics, Sums
from walkers_dist.landscape.normals import Asked, keys

PATIENCE = 120.0  # s: a busy machine may take long to start several processes


class Program:
    """Runs an experiment in float64, without forces and with a snapshot of every step unless it says otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, 0

    def __call__(self, experiment: Mapping[str, Any]) -> wd.Run:
        return wd.run(self.keys(experiment), run_dir=self.new_folder(), report=False)

    def over_gloo(self, experiment: Mapping[str, Any]) -> wd.Run:
        folder = self.new_folder()
        config = folder.with_suffix(".yaml")
        config.write_text(json.dumps(self.keys(experiment)))
        command = [sys.executable, "-m", "walkers_dist", "run", str(config), "--run-dir", str(folder), "--no-report"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
        assert said.returncode == 0, said.stderr
        return wd.open_run(folder)

    def resumed(self, experiment: Mapping[str, Any], at: int) -> wd.Run:
        """The run that lost what it wrote after its checkpoint of step `at`, and was resumed."""
        run = self(experiment)
        for part in (run.path / "checkpoints" / f"step-{experiment['steps']:08d}").iterdir():
            part.write_bytes(b"damaged")
        again = wd.resume(run.path, report=False)
        assert again.info["begin"] == at
        return again

    def keys(self, experiment: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "name": "dynamics", "dtype": "float64", "device": "cpu", "analysts": 0, "checkpoint": None,
            "snapshots": {"every": 1}, "coupling": None, **experiment,
        }  # fmt: skip

    def new_folder(self) -> Path:
        self.runs += 1
        return self.folder / f"run-{self.runs}"


@pytest.fixture
def run(tmp_path: Path) -> Program:
    return Program(tmp_path)


@pytest.fixture
def points() -> Callable[[wd.Run], Tensor]:
    return points_of


def points_of(run: wd.Run) -> Tensor:
    """Where its points were at its snapshots: [T, n, P], the center first where there is one."""
    return torch.stack([torch.stack([run.snapshot(t, name) for name in run.config.point_names]) for t in run.steps])


NOISY = {
    "kind": "quadratic", "dim": 3, "curvature": [0.2, 1.0, 3.0], "start": [1.0, 2.0, -3.0, 0.5],
    "optima": [0.5, -0.3, 0.0, 1.0], "noise": 0.3,
}  # fmt: skip


@pytest.fixture
def goes_on(run: Program) -> Callable[..., None]:
    """Asserts that resumes, and other places of the walkers, do not change what these dynamics make."""

    def check(dynamics: Mapping[str, Any], coupling: Mapping[str, Any] | None = None) -> None:
        keys = {"dynamics": dynamics, "coupling": coupling, "landscape": NOISY, "walkers": 4, "steps": 24}
        whole = run(keys)
        again = run.resumed({**keys, "checkpoint": {"every": 7}}, at=21)
        assert again.results.drop(columns="elapsed").equals(whole.results.drop(columns="elapsed"))
        assert torch.equal(points_of(again), points_of(whole))
        there = run.over_gloo({**keys, "walkers_per_process": 3})
        assert len([seat for seat in there.info["plan"] if seat["role"] == "walkers"]) == 2
        torch.testing.assert_close(points_of(there), points_of(whole), rtol=1e-12, atol=1e-12)

    return check


def step_by_hand(
    dynamics: Dynamics,
    coupling: Coupling,
    X: Tensor,
    c: Tensor,
    grad: Callable[[Tensor, int], Tensor],
    steps: int,
    seed: int = 0,
) -> list[tuple[Tensor, Tensor]]:
    """(X, c) after 0, 1, … `steps` steps by the kinds alone, without the program around them."""
    X, c, state, seen = X.clone(), c.clone(), {}, []
    sums = Sums.zeros(X, coupling.scalars)
    streams = keys(seed, [f"w{i}" for i in range(len(X))], "dynamics")
    for t in range(steps + 1):
        seen.append((X.clone(), c.clone()))
        for event in coupling.events(t):
            if event == "message":
                coupling.message(X, c, {}, t, sums)
            elif event == "gradient":
                g = dynamics.gradient(X, Asked(lambda X, t=t: grad(X, t), streams, t), state, t)
            elif event == "move":
                coupling.move(X, c, {}, t)
            elif event == "dynamics":
                dynamics.step(X, g, state, t)
        if "message" in coupling.events(t):
            coupling.center(c, sums, {}, t)
    return seen


@pytest.fixture
def by_hand() -> Callable[..., list[tuple[Tensor, Tensor]]]:
    return step_by_hand


@pytest.fixture
def variance() -> Callable[..., float]:
    """Stationary variance by the linear response to one kick: of sum_k s2 r_k^2, r_k what a kick leaves after k steps.

    The gradient is h x - xi with Var xi = s2 = 1; the walkers are alike, each with kicks of its own.
    """

    def of(dynamics: Dynamics, coupling: Coupling, h: float, p: int, what: str, steps: int) -> float:
        kick = torch.zeros(p, 1, dtype=torch.float64)
        kick[0] = 1.0
        X, c = torch.zeros_like(kick), torch.zeros(1, dtype=torch.float64)
        seen = step_by_hand(dynamics, coupling, X, c, lambda X, t: h * X - (kick if t == 0 else 0), steps)
        left = torch.stack([c[0] if what == "center" else X[0, 0] for X, c in seen])
        assert left[-1].abs() < 1e-9
        return float(p * left.square().sum())

    return of


@pytest.fixture
def printed() -> Callable[[str], Any]:
    """A published number: half a unit of its last digit, at best 1e-8."""

    def of(digits: str) -> Any:
        unit = 10.0 ** int(Decimal(digits).as_tuple().exponent)
        return pytest.approx(float(digits), rel=0, abs=max(unit / 2 * (1 + 1e-9), 1e-8))

    return of
