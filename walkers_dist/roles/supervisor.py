"""An analyst may die without the run: its rank only watches over a child that does the work.

The run may end without its analyst too: then the child is ended, and resume, or a job of its own, does the rest.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys

from walkers_dist.config.errors import DONE
from walkers_dist.distributed import leash, signals
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.analyst import report_state
from walkers_dist.roles.ending import ENDED

POLL = 0.2  # s
STARTS = 4  # the first, and up to three more


def supervise(run: RunDirectory, number: int, analysts: int, gpu: str | None) -> int:
    """Start the analyst, again if it dies, and give it up after that. Returns the exit code of a rank: always 0."""
    signals.ignore()  # the coordinator says when it ends
    command = [sys.executable, "-m", "walkers_dist", "_analyst", str(run.path), str(number), str(analysts), gpu or ""]
    for _ in range(STARTS):
        with leash.tie() as keywords:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **keywords)
        if _outlives(run, process) or process.wait() == 0:
            return DONE
    report_state(run, number, "given up")
    return DONE


def _outlives(run: RunDirectory, process: subprocess.Popen[bytes]) -> bool:
    """Wait for its end; whether the run ended first, and it was ended with it."""
    while process.poll() is None:
        if run.read_info().get("status") in ENDED:
            try:
                process.wait(POLL)  # it may have been about to leave
            except subprocess.TimeoutExpired:
                process.kill()
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL)
    return False
