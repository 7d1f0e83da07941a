"""The real program on quadratic bowls, in this process and as processes over gloo, and the rules to compare it with."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import walkers_dist as wd
from walkers_dist.distributed import leash
from walkers_dist.records.files import read_tensors
from walkers_dist.records.index import Entry, step_folder
from walkers_dist.records.snapshots import snapshot_index

PATIENCE = 120.0  # s: a busy machine may take long to start five processes
LAUNCHER = """
import os, sys, time
from walkers_dist.distributed import leash, local

leash.wear()
local.start_server("walkers_dist.roles.rank")
from walkers_dist.roles.launching import launch
from walkers_dist.roles.request import Request

for line in sys.stdin:
    os.write(int(sys.argv[1]), bytes([launch(Request.from_json(line), time.time())]))
"""
"""What `walkers run` starts as its child, but for one run after the other: torch is loaded once for all of them."""


@dataclass(frozen=True)
class Seen:
    """Where walkers and center were at the snapshots of a run."""

    run: wd.Run
    steps: list[int]
    x: np.ndarray  # [T, p, P]
    c: np.ndarray  # [T, P]; empty where there is no center

    @classmethod
    def at(cls, run: wd.Run) -> Seen:
        entries = snapshot_index(run.directory).entries()
        points = [points_of(run, entry) for entry in entries]
        x = np.array([[points_then[name] for name in run.config.walker_names] for points_then in points])
        c = np.array([points_then["center"] for points_then in points if run.config.has_center])
        return cls(run, [entry.step for entry in entries], x, c)


def points_of(run: wd.Run, entry: Entry) -> dict[str, np.ndarray]:
    """All points of a snapshot; `run.snapshot` would look for each of them in the whole index."""
    folder = step_folder(run.directory.snapshots, entry.step)
    files = [read_tensors(folder / file, part.digest) for file, part in entry.parts.items()]
    return {name: point.numpy() for file in files for name, point in file.items()}


class Launcher:
    """Runs experiments as `walkers run` does, each with processes of its own that meet over gloo."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "launcher.log"
        self._answers, writing = os.pipe()
        with leash.tie() as tied, self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, str(writing)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, start_new_session=True,
                **{**tied, "pass_fds": (*tied["pass_fds"], writing)},
            )  # fmt: skip
        os.close(writing)

    def run(self, config: Path, run_dir: Path) -> int:
        """Run a configuration; returns the exit code."""
        assert self._process.stdin
        request = {"config": str(config), "overrides": [], "run_dir": str(run_dir), "report": False}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._answers], [], [], PATIENCE)
        answer = os.read(self._answers, 1) if ready else b""
        assert answer, f"no answer from the launcher:\n{self.log.read_text()}"
        return answer[0]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._answers)


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path_factory.mktemp("launcher"))
    yield launcher
    launcher.close()


class Program:
    """Runs experiments, given as mappings, and says where their walkers were."""

    def __init__(self, folder: Path, launcher: Callable[[], Launcher]) -> None:
        self.folder, self._launcher, self._runs = folder, launcher, 0

    def here(self, experiment: Mapping[str, Any]) -> Seen:
        config, run_dir = self._files(experiment)
        return Seen.at(wd.run(config, run_dir=run_dir, report=False))

    def over_gloo(self, experiment: Mapping[str, Any]) -> Seen:
        code, run_dir = self.exit_code(experiment)
        assert code == 0, self._launcher().log.read_text()
        return Seen.at(wd.open_run(run_dir))

    def exit_code(self, experiment: Mapping[str, Any]) -> tuple[int, Path]:
        """Of a run over gloo, and where it lies."""
        config, run_dir = self._files(experiment)
        return self._launcher().run(config, run_dir), run_dir

    def both(self, experiment: Mapping[str, Any]) -> Seen:
        """The run in this process, once the one over gloo was seen to agree with it to 1e-12."""
        here, there = self.here(experiment), self.over_gloo(experiment)
        seats = [seat for seat in there.run.info["plan"] if seat["role"] == "walkers"]
        assert len(seats) == experiment["walkers"] / experiment["walkers_per_process"]
        assert here.steps == there.steps
        np.testing.assert_allclose(there.x, here.x, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(there.c, here.c, rtol=1e-12, atol=1e-12)
        return here

    def _files(self, experiment: Mapping[str, Any]) -> tuple[Path, Path]:
        self._runs += 1
        config = self.folder / f"experiment-{self._runs}.yaml"
        config.write_text(yaml.safe_dump(dict(experiment)))
        return config, self.folder / f"run-{self._runs}"


@pytest.fixture
def program(tmp_path: Path, request: pytest.FixtureRequest) -> Program:
    return Program(tmp_path, lambda: request.getfixturevalue("launcher"))


@pytest.fixture
def bowl() -> Callable[..., dict[str, Any]]:
    return quadratic


def quadratic(
    coupling: Mapping[str, Any],
    *,
    walkers: int = 4,
    lr: float = 0.1,
    steps: int = 20,
    every: int = 1,
    walkers_per_process: int = 1,
    dynamics: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
    **landscape: Any,
) -> dict[str, Any]:
    """An experiment on a bowl in float64, by plain gradients, with a snapshot every so many steps and no more."""
    return {
        "name": "bowl", "dtype": "float64", "device": "cpu", "analysts": 0, "checkpoint": None,
        "walkers": walkers, "walkers_per_process": walkers_per_process,
        "steps": steps, "log": {"every": steps}, "snapshots": {"every": every},
        "landscape": {"kind": "quadratic", "dim": 1, **landscape},
        "dynamics": {"name": "sgd", "lr": lr, "momentum": 0.0, **(dynamics or {})},
        "coupling": dict(coupling),
        **(more or {}),
    }  # fmt: skip


@pytest.fixture
def printed() -> Callable[[str], Any]:
    return published


def published(digits: str) -> Any:
    """A published number: half a unit of its last digit, at best 1e-8."""
    unit = 10.0 ** int(Decimal(digits).as_tuple().exponent)
    return pytest.approx(float(digits), rel=0, abs=max(unit / 2 * (1 + 1e-9), 1e-8))


@pytest.fixture
def written_out() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return by_hand


def by_hand(experiment: Mapping[str, Any], *, lost: str | None = None, at: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x: [T, p, P] and c: [T, P] at every step of a noise-free experiment, one walker and one rule after the other.

    The walker `lost` is broken by its gradient `at` a step: from then on it is nan, and the others do without it.
    """
    land, rule, p = experiment["landscape"], experiment["coupling"], experiment["walkers"]
    eta, momentum = experiment["dynamics"]["lr"], experiment["dynamics"]["momentum"]
    name, alpha, period = rule.get("order", rule["name"]), rule.get("alpha"), rule.get("period", 1)
    assert name != "easgd" and ("order" not in rule or "period" in rule), "its defaults are not known here"
    h = np.broadcast_to(land.get("curvature", 1.0), land["dim"])
    m, start = (np.broadcast_to(land.get(key, default), p) for key, default in (("optima", 0.0), ("start", 1.0)))
    x = [np.full(len(h), start[i]) for i in range(p)]
    c = np.full(len(h), land["center_start"]) if "center_start" in land else sum(x) / p
    v: list[Any] = [None] * p
    xs, cs = [np.array(x)], [c]

    def rest(points: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [point for point in points if np.isfinite(point).all()]

    def mean(points: Sequence[np.ndarray]) -> np.ndarray:
        return sum(points) / len(points)

    def pulled(points: Sequence[np.ndarray]) -> np.ndarray:
        d = [point - c for point in rest(points)]
        return c + (alpha * sum(d) if rule.get("beta") is None else rule["beta"] * mean(d))

    for t in range(experiment["steps"]):
        moved = []
        for i in range(p):
            g = h * (x[i] - m[i])
            if f"w{i}" == lost and t == at:
                g = np.full(len(h), np.nan)
            v[i] = g if v[i] is None else momentum * v[i] + g
            moved.append(x[i] - eta * v[i])
        due = (t if name in ("simultaneous", "center_last") else t + 1) % period == 0
        if name == "none":
            x, c = moved, mean(rest(moved))
        elif not due:
            x = moved
        elif name == "simultaneous":
            x, c = [moved[i] - alpha * (x[i] - c) for i in range(p)], pulled(x)
        elif name == "center_last":
            x = [moved[i] - alpha * (x[i] - c) for i in range(p)]
            c = pulled(x)
        elif name == "gradient_first":
            x, c = [y - alpha * (y - c) for y in moved], pulled(moved)
        elif name == "elementary":
            x = [y - alpha * (y - c) for y in moved]
            c = mean(rest(x))
            if rule.get("rescale", True):
                c = c * mean([np.linalg.norm(y) for y in rest(x)]) / np.linalg.norm(c)
        xs.append(np.array(x))
        cs.append(c)
    return np.array(xs), np.array(cs)
