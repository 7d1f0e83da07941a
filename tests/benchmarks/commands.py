"""The `walkers` command as a user meets it: help, a mistake, and the quickstart from the command to its report."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tables import read_rows

WALKERS = [sys.executable, "-m", "walkers_dist"]
QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
POLL = 0.1  # s


def help_and_mistake() -> Iterator[str]:
    """Seconds of the whole process (help at most 0.4, a refusal at most 1)."""
    yield f"walkers --help: {_seconds([*WALKERS, '--help'], exit_code=0)}"
    mistake = [*WALKERS, "run", str(QUICKSTART), "dynamics.lr=-1"]
    yield f"walkers run {QUICKSTART.name} dynamics.lr=-1: {_seconds(mistake, exit_code=2)}"


def _seconds(command: list[str], exit_code: int, times: int = 11) -> str:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        code = subprocess.run(command, capture_output=True, check=False).returncode
        seconds.append(time.perf_counter() - began)
        assert code == exit_code, f"{command} left with {code}"
    low, middle, high = np.quantile(seconds, [0.25, 0.5, 0.75])
    return f"{middle:.2f} [{low:.2f}, {high:.2f}] s"


def quickstart() -> Iterator[str]:
    """From the command to the first step (at most 4 s) and to the report (at most 45 s); memory (at most 60 MB)."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder, "run"))
        began = time.perf_counter()
        with subprocess.Popen(
            [*WALKERS, "run", str(QUICKSTART), "--run-dir", str(run.path)], stdout=subprocess.DEVNULL
        ) as command:
            private: dict[str, int] = {}
            while command.poll() is None:
                for name, kB in _private_memory(run):
                    private[name] = max(kB, private.get(name, 0))
                time.sleep(POLL)
        seconds = time.perf_counter() - began
        assert command.returncode == 0 and (run.path / "report.html").exists()
        timings = run.read_info()["timings"]
        rows = read_rows(run.table("results"))
        last = [row for row in rows if row["step"] == rows[-1]["step"]]
    yield f"first step after {timings['start']:.1f} s, report after {seconds:.1f} s; parts {timings}"
    yield "test accuracy " + ", ".join(f"{row['walker']} {float(row['test_accuracy']):.3f}" for row in last)
    yield "private MB at the peak " + ", ".join(f"{name} {kB / 1000:.0f}" for name, kB in sorted(private.items()))


def _private_memory(run: RunDirectory) -> Iterator[tuple[str, int]]:
    """(name, kB) of every process of the run, which are known by the log they write to."""
    for error in Path("/proc").glob("[0-9]*/fd/2"):
        try:
            log = error.readlink()
            if log.parent == run.logs:
                rollup = (error.parents[1] / "smaps_rollup").read_text()
                yield log.stem, sum(map(int, re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", rollup, re.M)))
        except OSError:  # it has just ended
            continue
