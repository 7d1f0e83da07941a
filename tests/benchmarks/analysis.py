"""What the walkers pay for being watched: CPU seconds per step with probes and an analyst, and without."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from blocks import Blocks

from walkers_dist.config import text
from walkers_dist.dynamics.sgd import SGD
from walkers_dist.records.run_directory import RunDirectory

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import State

EVERY = 200  # steps: a block, and a snapshot
BLOCKS_OF_A_RUN = 8
PAIRS = 5
MARKS = "WALKERS_BENCHMARK_MARKS"
"""The folder to which walker processes note their CPU seconds."""
PROBES = {
    "interpolation": {"every": EVERY, "points": 11},
    "plane": {"every": EVERY, "directions": "random", "grid": 11},
    "sharpness": {"every": EVERY},
    "average": {"every": EVERY},
}
CURVATURE = {"every": EVERY, "of": ["center", "w0"], "top": 5, "bottom": 3, "full": "never"}


class Marked(SGD):
    """SGD that notes at every `EVERY` steps how many CPU seconds its process has used."""

    def move(self, X: Tensor, g: Tensor, state: State, t: int) -> None:
        if t % EVERY == 0:
            with Path(os.environ[MARKS], f"{os.getpid()}.txt").open("a") as marks:
                marks.write(f"{time.process_time()}\n")
        super().move(X, g, state, t)


def free_analysis() -> Iterator[str]:
    """CPU seconds of a walker process per step, watched by analyst and probes / unwatched (at most 1.02).

    784-100-100-10, batch 100, two walkers, snapshots every 200 steps in both arms, over processes. Runs take turns.
    """
    blocks = Blocks()
    for _ in range(PAIRS):
        watched = _cpu_seconds({"analysts": 1, "probes": PROBES, "curvature": CURVATURE})
        unwatched = _cpu_seconds({"analysts": 0})
        for ours, theirs in zip(watched, unwatched, strict=True):
            blocks.add(ours, theirs)
    yield f"{len(blocks.ours)} blocks of {EVERY} steps: {blocks}"


def _cpu_seconds(arm: dict[str, object]) -> list[float]:
    """Of each block of one run, both walker processes together; the first block warms up."""
    config = {
        "name": "watched",
        "landscape": {"data": {"name": "made_up:load"}, "model": {"name": "mlp", "hidden": [100, 100]}},
        "walkers": 2,
        "steps": (BLOCKS_OF_A_RUN + 1) * EVERY + 1,
        "dynamics": {"name": "analysis:Marked", "lr": 0.01, "batch_size": 100},
        "coupling": {"name": "easgd", "period": 10},
        "log": {"every": EVERY},
        "control": {"every": EVERY},
        "snapshots": {"every": EVERY},
        "checkpoint": None,
        **arm,
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ[MARKS], os.environ["PYTHONPATH"] = folder, str(Path(__file__).parent)
        _train(config, Path(folder))
        found = [list(map(float, path.read_text().split())) for path in sorted(Path(folder).glob("*.txt"))]
    per_process = [[after - before for before, after in pairwise(marks)] for marks in found]
    return [sum(block) for block in zip(*per_process, strict=True)][1:]


def _train(config: dict[str, object], folder: Path) -> None:
    """Run it to the end of its training; the analysis that is left is of no interest."""
    file, run = folder / "watched.yaml", RunDirectory(folder / "run")
    file.write_text(text.write(config), encoding="utf-8")
    words = ["run", str(file), "--run-dir", str(run.path), "--no-report"]
    with subprocess.Popen([sys.executable, "-m", "walkers_dist", *words], stdout=subprocess.DEVNULL) as command:
        while command.poll() is None and run.read_info().get("status") in (None, "running"):
            time.sleep(0.1)
        command.terminate()
