"""A run directory as a real run leaves it, written by hand: what the pictures are tested on."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from walkers_dist.records.tables import COLUMNS

HEADERS = {
    "results": "step epoch walker lr norm train_loss train_grad_norm train_accuracy "
    "test_loss test_grad_norm test_accuracy elapsed",
    "distances": "step a b distance cosine",
    "eigenvalues": "step walker matrix side rank eigenvalue residual",
    "events": "step time source key old new",
}
CONFIG = """\
name: {name}
seed: 0
landscape:
  kind: network
  data: {{name: digits, train_size: 1000}}
  model: {{name: mlp, hidden: [30, 30], activation: relu}}
  loss: cross_entropy
walkers: {walkers}
steps: {steps}
dynamics: {{name: sgd, lr: 0.1, momentum: 0.5, batch_size: 100}}
coupling: {{name: easgd, alpha: 0.1, period: 4}}
"""
INFO = {
    "status": "done",
    "owner": {"host": "atlas", "pid": 4711, "job": None, "start": "2026-03-01T10:00:00"},
    "versions": {"walkers_dist": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
    "plan": {"processes": [{"name": "coordinator", "device": "cpu"}, {"name": "walkers 0-3", "device": "cpu"}]},
    "threads": 1,
    "timings": {"start": 1.9, "training": 6.25, "measuring": 2.5, "analysis": 11.0},
}


def write_table(path: Path, name: str, rows: Iterable[Sequence[object]]) -> None:
    with (path / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADERS[name].split() if name in HEADERS else COLUMNS[name])
        writer.writerows(rows)


def results(rng: np.random.Generator, names: list[str], steps: range, diverged: str | None) -> Iterable[list[object]]:
    for t in steps:
        for i, name in enumerate(names):
            loss = 2.3 * np.exp(-t / 90) + 0.02 + 0.01 * i * np.exp(-t / 400) + 0.004 * rng.random()
            if name == diverged and t > steps[-1] // 3:
                loss = {0: np.inf, 1: np.nan}.get(t // steps.step % 3, np.nan) if t > steps[-1] // 2 else 1e9 * t
            accuracy = 1 - 0.9 * np.exp(-t / 80) - 0.01 * rng.random()
            rate = 0.1 if t < 300 else 0.01
            yield [t, t / 10, name, rate, 20.0, loss, loss, accuracy, 1.4 * loss + 0.1, loss, accuracy - 0.05, t / 90]


def distances(rng: np.random.Generator, names: list[str], steps: range) -> Iterable[list[object]]:
    spots = {name: 0.8 + 0.6 * rng.random() for name in names}
    for t in steps:
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                far = (spots[a] + spots[b]) * (1 - np.exp(-t / 120)) * (0.6 if a == "center" else 1.0)
                yield [t, a, b, far, 0.97]


def eigenvalues(rng: np.random.Generator, names: list[str], steps: Sequence[int], P: int) -> Iterable[list[object]]:
    for t in steps:
        for name in names:
            bulk = np.concatenate([10 ** rng.normal(-3.2, 0.9, P - 60), -(10 ** rng.normal(-4, 0.6, 50))])
            full = np.sort(np.concatenate([bulk, 30 * rng.random(10) + 2 + t / 40]))[::-1]
            yield from ([t, name, "hessian", "top", k + 1, full[k], 1e-5] for k in range(5))
            yield from ([t, name, "hessian", "bottom", k + 1, full[-1 - k], 1e-5] for k in range(3))
        for name in names if t == steps[-1] else []:
            yield from ([t, name, "hessian", "full", k + 1, value, ""] for k, value in enumerate(full))


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    def make(
        walkers: int = 4, steps: int = 600, every: int = 10, name: str = "synthetic", diverged: str | None = None,
        tables: Sequence[str] = tuple(HEADERS), info: dict[str, object] | None = None, P: int = 600,
    ) -> Path:  # fmt: skip
        path = tmp_path / f"{name.strip('<>/')[:9]}-20260301-100000"
        path.mkdir()
        (path / "config.yaml").write_text(CONFIG.format(name=json.dumps(name), walkers=walkers, steps=steps))
        (path / "run.json").write_text(json.dumps({**INFO, **(info or {})}))
        rng = np.random.default_rng(0)
        names = ["center", *(f"w{i}" for i in range(walkers))]
        times = range(0, steps + 1, every)
        rows = {
            "results": results(rng, names, times, diverged),
            "distances": distances(rng, names, times),
            "eigenvalues": eigenvalues(rng, names[:2], list(range(0, steps + 1, max(steps // 3, 1))), P),
            "events": [
                [300, "2026-03-01T10:00:05", "schedule", "dynamics.lr", "0.1", "0.01"],
                [450, "2026-03-01T10:00:07", "schedule", "coupling.alpha", "0.1", "0.2"],
                [450, "2026-03-01T10:00:07", "schedule", "coupling.period", "4", "1"],
            ],
        }
        for table in tables:
            write_table(path, table, rows[table])
        return path

    return make


@pytest.fixture
def add_table() -> Callable[[Path, str, Iterable[Sequence[object]]], None]:
    """Write a table of a probe into a run directory."""
    return write_table
