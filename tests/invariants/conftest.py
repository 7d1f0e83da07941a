"""What the invariants are tested with: runs in processes of their own, kills at any instant, and equal tables."""

from __future__ import annotations

import csv
import io
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import torch
from processes import Walkers, commands, until

sys.path.append(str(Path(__file__).parent))
from kills import Forked

import walkers_dist as wd
from walkers_dist.records.index import Index
from walkers_dist.records.tables import COLUMNS

T = TypeVar("T")
Contents = dict[str, Any]

DIGITS = {
    "name": "digits",
    "threads": 1,
    "landscape": {
        "kind": "network",
        "data": {"name": "digits", "train_size": 120, "test_size": 200},
        "model": {"name": "mlp", "hidden": [4], "activation": "tanh"},
    },
    "walkers": 4,
    "walkers_per_process": 2,
    "steps": 160,
    "dynamics": {"name": "sgd", "lr": 0.1, "momentum": 0.5, "batch_size": 20},
    "coupling": {"name": "easgd", "alpha": 0.1, "period": 4},
    "schedule": [
        {"at": 60, "set": {"dynamics.lr": 0.05}},
        {"at": 110, "set": {"coupling.alpha": 0.05, "log.every": 5}},
    ],
    "log": {"every": 10},
    "snapshots": {"every": 50},
    "checkpoint": {"every": 40, "keep": 2},
    "probes": {
        "distances": {"every": 20},
        "interpolation": {"every": 80, "points": 3, "pairs": "center"},
        "plane": {"every": 160, "grid": 3},
        "walk": {"every": 80, "of": ["w1"], "walks": 2, "moves": 5},
    },
    "curvature": {
        "every": 50,
        "of": ["center", "w1"],
        "top": 2,
        "bottom": 1,
        "vectors": True,
        "density": {"probes": 2, "steps": 8},
        "full": "at_end",
    },
}
"""A small network whose run has everything that a table may hold."""


# ---- equal tables ---------------------------------------------------------------------------------------------

TABLES = tuple(COLUMNS)
NOT_COMPARED = {"results": ("elapsed",), "events": ("time", "source")}
SOURCES_NOT_COMPARED = ("fault", "stop", "resume")


def table(run: Path, name: str) -> list[dict[str, str]]:
    """The rows of a table, read without mercy: every line must be whole."""
    path = run / f"{name}.csv"
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n"), f"{path} ends in the middle of a line"
    rows = list(csv.DictReader(io.StringIO(text)))
    assert all(None not in row and None not in row.values() for row in rows), f"{path} holds a broken row"
    return rows


def snapshots(run: Path) -> dict[tuple[int, str], torch.Tensor]:
    """(step, walker) -> point, of every complete snapshot."""
    opened = wd.open_run(run)
    entries = Index(run / "snapshots/index.jsonl").entries()
    names = {entry.step: [name for part in entry.parts.values() for name in part.walkers] for entry in entries}
    assert [entry.step for entry in entries] == sorted(names), "a snapshot is there twice, or out of order"
    assert [entry.step for entry in entries if entry.last] == [max(names)]
    return {(step, name): opened.snapshot(step, name) for step in names for name in sorted(names[step])}


def contents(run: Path) -> Contents:
    """All of a run that equal runs have in common: *equal tables* of the design, and the points themselves."""
    found: Contents = {}
    for name in TABLES:
        rows = [row for row in table(run, name) if name != "events" or row["source"] not in SOURCES_NOT_COMPARED]
        found[name] = [{k: v for k, v in row.items() if k not in NOT_COMPARED.get(name, ())} for row in rows]
    found["snapshots"] = snapshots(run)
    return found


def assert_equal(one: Contents, other: Contents, leave_out: Sequence[str] = ()) -> None:
    """Bit for bit: the text of every cell, and every number of every snapshot."""
    for name in TABLES:
        if name in leave_out:
            continue
        for number, (a, b) in enumerate(zip(one[name], other[name], strict=False)):
            assert a == b, f"{name}.csv: row {number} differs"
        assert len(one[name]) == len(other[name]), f"{name}.csv: {len(one[name])} rows and {len(other[name])}"
    assert list(one["snapshots"]) == list(other["snapshots"])
    for key, point in one["snapshots"].items():
        assert torch.equal(point, other["snapshots"][key]), f"the snapshot of {key} differs"


def difference(one: Contents, other: Contents) -> float:
    """The largest difference of two numbers that stand in the same place, relative to 1 or to their size."""
    worst = 0.0
    for name in TABLES:
        assert len(one[name]) == len(other[name]), f"{name}.csv: {len(one[name])} rows and {len(other[name])}"
        for a, b in zip(one[name], other[name], strict=True):
            for column in a:
                worst = max(worst, _apart(a[column], b[column]))
    assert list(one["snapshots"]) == list(other["snapshots"])
    for key, point in one["snapshots"].items():
        worst = max(worst, float((point - other["snapshots"][key]).abs().max()))
    return worst


def _apart(a: str, b: str) -> float:
    try:
        x, y = float(a), float(b)
    except ValueError:
        assert a == b
        return 0.0
    assert (x == x) == (y == y)
    return abs(x - y) / max(1.0, abs(x)) if x == x else 0.0


def last_step(run: Path) -> int:
    """The last step with rows; -1 before the first."""
    try:
        lines = (run / "results.csv").read_bytes().splitlines()
    except FileNotFoundError:
        return -1
    return int(lines[-1].split(b",")[0]) if len(lines) > 1 else -1


# ---- processes ------------------------------------------------------------------------------------------------


@pytest.fixture
def walkers() -> Iterator[Callable[..., Walkers]]:
    """`walkers(run, config)` starts a run there, `walkers(run)` resumes it; words are `key=value`."""
    with commands() as start:
        yield start


@pytest.fixture(scope="session")
def over_processes(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """What `DIGITS` leaves behind, run over processes and undisturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return contents(wd.run(DIGITS, run_dir=folder / "run", in_process=False, report=False).path)


# ---- kills of a run in one process ----------------------------------------------------------------------------


@pytest.fixture
def forked() -> Iterator[Callable[..., Forked]]:
    """`forked(run, config or None to resume, overrides, dies=, by=)`."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("names files through /proc, which this system does not have")
    torch.set_num_threads(1)
    started: list[Forked] = []

    def start(
        run: Path,
        config: Mapping[str, Any] | None = None,
        overrides: Sequence[str] = (),
        dies: int | Callable[[str, bytes], bool] | None = None,
        by: int = signal.SIGKILL,
    ) -> Forked:
        started.append(Forked(run, config, overrides, dies, by))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.join()


@pytest.fixture(scope="session")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """What `DIGITS` leaves behind, run in one process and undisturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return contents(wd.run(DIGITS, run_dir=folder / "run", report=False).path)


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The keys of the coupling in remembering.py, which can be imported meanwhile."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield {"name": "remembering:Remembering", "alpha": 0.1, "period": 3}
    sys.modules.pop("remembering", None)


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    """The functions of this file, which cannot be imported."""
    return SimpleNamespace(
        DIGITS=DIGITS,
        contents=contents,
        assert_equal=assert_equal,
        difference=difference,
        table=table,
        last_step=last_step,
        until=until,
    )
