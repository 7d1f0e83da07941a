"""Runs that are spoken to while they go on, in this process and in processes of their own, and equal tables."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from processes import Walkers, commands, until

import walkers_dist as wd
from walkers_dist.distributed.asking import ask
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.in_process import run_in_process
from walkers_dist.roles.request import Request

BOWLS = '''
"""A bowl whose gradients take their time, and are noisy."""

import time

import torch

from walkers_dist import Landscape
from walkers_dist.landscape import stream


class Bowl(Landscape):
    def __init__(self, *, seed, dtype, device, pause=0.0):
        self.size, self.seed, self.dtype, self.pause = 6, seed, dtype, pause

    def minibatches(self, walkers, batch_size):
        def gradient(X, t):
            time.sleep(self.pause)
            noise = [torch.randn(6, generator=stream(self.seed, name, "noise", t), dtype=X.dtype) for name in walkers]
            return X + torch.stack(noise)

        return gradient

    def loss(self, theta, *, split="train", walkers=None):
        return theta.square().sum(1) / 2
'''
SLOW = {
    "name": "slow",
    "landscape": {"kind": "bowls:Bowl", "pause": 0.003},
    "walkers": 4,
    "walkers_per_process": 2,
    "steps": 400,
    "dynamics": {"name": "sgd", "lr": 0.1, "momentum": 0.5},
    "coupling": {"name": "easgd", "alpha": 0.1, "period": 4},
    "schedule": [{"at": 60, "set": {"dynamics.momentum": 0.4}}, {"at": 250, "set": {"coupling.alpha": 0.05}}],
    "log": {"every": 10},
    "control": {"every": 5},
    "snapshots": {"every": 50},
    "checkpoint": {"every": 40, "keep": 2},
    "probes": {"distances": {"every": 20}, "interpolation": {"every": 100, "points": 3, "pairs": "center"}},
    "curvature": {"every": 100, "of": ["center", "w1"], "top": 1, "bottom": 0, "full": "never"},
}
"""100 steps take a third of a second at least, and have all that a change could change."""

# ---- equal tables ---------------------------------------------------------------------------------------------

TABLES = ("results", "distances", "interpolations", "eigenvalues", "events")
NOT_COMPARED = {"results": ("elapsed",), "events": ("time", "source")}
SOURCES_NOT_COMPARED = ("fault", "stop", "resume", "pause", "continue", "snapshot")


def rows(run: Path, name: str) -> list[dict[str, str]]:
    path = run / f"{name}.csv"
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    found = list(csv.DictReader(text.splitlines()))
    assert all(None not in row and None not in row.values() for row in found)
    return found


def contents(run: Path, asked: Sequence[int] = ()) -> dict[str, Any]:
    """All that equal runs have in common; `asked`: steps of snapshots to be left out."""
    found: dict[str, Any] = {}
    for name in TABLES:
        kept = [row for row in rows(run, name) if name != "events" or row["source"] not in SOURCES_NOT_COMPARED]
        found[name] = [{k: v for k, v in row.items() if k not in NOT_COMPARED.get(name, ())} for row in kept]
    opened = wd.open_run(run)
    names = opened.config.point_names
    found["snapshots"] = {(s, n): opened.snapshot(s, n) for s in opened.steps if s not in asked for n in names}
    return found


def assert_equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Bit for bit: the text of every cell, and every number of every snapshot."""
    for name in TABLES:
        assert one[name] == other[name], f"{name}.csv differs"
    assert one["results"], "nothing was compared"
    assert list(one["snapshots"]) == list(other["snapshots"])
    for key, point in one["snapshots"].items():
        assert torch.equal(point, other["snapshots"][key]), f"the snapshot of {key} differs"


# ---- speaking to a run ----------------------------------------------------------------------------------------


class Speaker:
    """What is said to the run at `run`, and what it answers."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def ask(self, word: str, *changes: str, at: int | None = None) -> dict[str, Any]:
        return ask(RunDirectory(self.run), {"word": word, "changes": list(changes), "at": at})

    def tell(self, word: str, *changes: str, at: int | None = None) -> int:
        """The step that the run names, of what it accepts."""
        answer = self.ask(word, *changes, at=at)
        assert answer["ok"], answer
        return int(answer["step"])

    def at_step(self, step: int) -> None:
        """Return when the run says that it has come so far."""
        until(lambda: self.ask("status")["step"] >= step, f"step {step}")

    def listens(self) -> None:
        until(lambda: (self.run / "control/address.json").exists(), "an address")


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "bowls.py").write_text(BOWLS)
    sys.path.insert(0, str(folder))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(folder) + (os.pathsep + before if before else "")
    yield SLOW
    sys.path.remove(str(folder))
    sys.modules.pop("bowls", None)
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def spoken_to(tmp_path: Path) -> Callable[..., Any]:
    """`spoken_to(config, what, paused=)` runs it in this process while a thread does `what(Speaker)`; the run, and
    what that returned."""

    def start(config: Mapping[str, Any], what: Callable[[Speaker], Any], paused: bool = False) -> tuple[Path, Any]:
        run = tmp_path / f"run-{uuid.uuid4().hex[:6]}"
        (file := run.with_suffix(".yaml")).write_text(json.dumps(config), encoding="utf-8")
        speaker, said, failed = Speaker(run), [], []

        def speak() -> None:
            try:
                speaker.listens()
                said.append(what(speaker))
            except BaseException as error:
                failed.append(error)
                os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=speak)
        thread.start()
        code = run_in_process(Request(str(file), run_dir=str(run), report=False, paused=paused))[1]
        thread.join()
        if failed:
            raise failed[0]
        assert code == 0
        return run, said[0]

    return start


# ---- processes ------------------------------------------------------------------------------------------------


class Spoken(Walkers):
    """A command whose run can be spoken to."""

    def __init__(self, run: Path, *words: object) -> None:
        super().__init__(run, *words)
        self.speaker = Speaker(run)


@pytest.fixture
def walkers() -> Iterator[Callable[..., Spoken]]:
    """`walkers(run, config, words)` starts a run there, `walkers(run)` resumes it."""
    with commands(Spoken) as start:
        yield start


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    """The functions of this file, which cannot be imported."""
    return SimpleNamespace(
        SLOW=SLOW, Speaker=Speaker, contents=contents, assert_equal=assert_equal, rows=rows, until=until
    )
