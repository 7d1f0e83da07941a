"""What it costs the walkers that somebody asks how the run stands."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from blocks import Blocks

from walkers_dist.api.last_rows import last_rows
from walkers_dist.distributed.asking import ask
from walkers_dist.records.run_directory import RunDirectory

PAIRS, SECONDS, CALLS = 24, 2.0, 10
CONFIG = {
    "name": "benchmark",
    "landscape": {
        "kind": "network",
        "data": {"name": "digits", "train_size": 1000},
        "model": {"name": "mlp", "hidden": [30, 30]},
    },
    "walkers": 2,
    "walkers_per_process": 2,
    "analysts": 0,
    "steps": 10**8,
    "log": {"every": 50},
    "snapshots": None,
    "checkpoint": None,
}


def control() -> Iterator[str]:
    """CPU seconds of the walkers' process per step, with 10 status calls a second over without."""
    with tempfile.TemporaryDirectory() as folder, _running(Path(folder)) as run:
        pid, blocks, waits = _walkers(run), Blocks(), []
        _block(run, pid, 0, waits)
        waits.clear()
        for _ in range(PAIRS):
            quiet = _block(run, pid, 0, waits)
            blocks.add(_block(run, pid, CALLS, waits), quiet)
        yield f"{PAIRS} pairs of blocks of {SECONDS:g} s: {blocks}"
        waits.sort()
        middle, worst = 1000 * waits[len(waits) // 2], 1000 * waits[-1]
        yield f"{len(waits)} answers, each over a connection of its own: median {middle:.1f} ms, longest {worst:.1f} ms"


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[RunDirectory]:
    (file := folder / "benchmark.yaml").write_text(json.dumps(CONFIG))
    run = RunDirectory(folder / "run")
    words = ["run", str(file), "--run-dir", str(run.path), "--no-report"]
    with subprocess.Popen([sys.executable, "-m", "walkers_dist", *words], stdout=subprocess.DEVNULL) as process:
        while not last_rows(run.table("results")):
            time.sleep(0.1)
        try:
            yield run
        finally:
            ask(run, {"word": "stop"})
            process.wait()


def _walkers(run: RunDirectory) -> int:
    """The process that writes the walkers' log."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and (folder / "fd/2").readlink() == run.logs / "walkers-0-1.log":
                return int(folder.name)
    raise LookupError("there is no process of the walkers")


def _block(run: RunDirectory, pid: int, calls: int, waits: list[float]) -> float:
    """CPU seconds per step over a while in which so many calls are made each second."""
    step, cpu, began = _step(run), _cpu(pid), time.perf_counter()
    number = 0
    while (now := time.perf_counter() - began) < SECONDS:
        if calls and now >= number / calls:
            asked = time.perf_counter()
            ask(run, {"word": "status"})
            waits.append(time.perf_counter() - asked)
            number += 1
        else:
            time.sleep(0.01)
    return (_cpu(pid) - cpu) / (_step(run) - step)


def _step(run: RunDirectory) -> int:
    """The next step with rows, as soon as it has come."""
    before = last_rows(run.table("results"))[0]["step"]
    while (now := last_rows(run.table("results"))[0]["step"]) == before:
        time.sleep(0.001)
    return int(now)


def _cpu(pid: int) -> float:
    """Seconds that all its threads have used."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
