"""An analyst may die without the run: its rank only watches over a child that does the work."""

from __future__ import annotations

import subprocess
import sys

from walkers_dist.config.errors import DONE
from walkers_dist.distributed import leash
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.analyst import report_state

STARTS = 4  # the first, and up to three more


def supervise(run: RunDirectory, number: int, analysts: int, gpu: str | None) -> int:
    """Start the analyst, again if it dies, and give it up after that. Returns the exit code of a rank: always 0."""
    command = [sys.executable, "-m", "walkers_dist", "_analyst", str(run.path), str(number), str(analysts), gpu or ""]
    for _ in range(STARTS):
        with leash.tie() as keywords:
            if subprocess.run(command, stdin=subprocess.DEVNULL, check=False, **keywords).returncode == 0:
                return DONE
    report_state(run, number, "given up")
    return DONE
