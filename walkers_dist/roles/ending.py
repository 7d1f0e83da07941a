"""How a run ends: the analysts finish, the report is drawn, and everybody leaves together."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time

from walkers_dist.config.errors import DONE, INTERRUPTED
from walkers_dist.distributed import leash
from walkers_dist.distributed.signals import Received
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.analyst import state_of
from walkers_dist.roles.progress import say

POLL = 0.1  # s
ENDED = ("done", "interrupted", "failed")


def await_analysts(run: RunDirectory, analysts: int, signals: Received) -> None:
    """After the last step: return when every analyst is done or given up, or a signal says not to wait."""
    run.update_info(status="analysing")
    started = time.perf_counter()
    while not signals.name and any(state_of(run, number) == "working" for number in range(analysts)):
        time.sleep(POLL)
    note_timings(run, analysis=time.perf_counter() - started)


def conclude(run: RunDirectory, analysts: int, signals: Received, report: bool) -> int:
    """Say how the run has ended, which lets the other ranks leave, and draw its report; returns the exit code."""
    if signals.name:
        run.update_info(status="interrupted")
        say(f"interrupted: walkers resume {shlex.quote(str(run.path))}")
        return INTERRUPTED
    _tell_of_given_up(run, analysts)
    run.update_info(status="done")  # the report says so, too
    if report:
        started = time.perf_counter()
        draw_report(run)
        note_timings(run, report=time.perf_counter() - started)
    return DONE


def _tell_of_given_up(run: RunDirectory, analysts: int) -> None:
    for number in range(analysts):
        if state_of(run, number) == "given up":
            log, again = run.logs / f"analyst-{number}.log", shlex.quote(str(run.path))
            say(f"analyst {number} was given up, see {log}; walkers resume {again} goes on with its work")


def draw_report(run: RunDirectory) -> None:
    """`walkers report` in a child of its own, so that no rank imports pandas or matplotlib; a failure is only told."""
    with leash.tie() as keywords, (run.logs / "report.log").open("wb") as log:
        command = [sys.executable, "-m", "walkers_dist", "report", str(run.path)]
        child = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False, **keywords)
    if child.returncode == 0:
        say(f"report: {run.path / 'report.html'}")
    else:
        say(f"the report could not be drawn, see {run.logs / 'report.log'}")


def note_timings(run: RunDirectory, **seconds: float) -> None:
    """Add to how long each part took, over all resumes."""
    timings = run.read_info().get("timings", {})
    run.update_info(timings=timings | {part: round(timings.get(part, 0.0) + s, 3) for part, s in seconds.items()})


def wait_for_the_end(run: RunDirectory) -> None:
    """Without a collective: every rank leaves when the coordinator has written that the run has ended."""
    while run.read_info().get("status") not in ENDED:
        time.sleep(POLL)
