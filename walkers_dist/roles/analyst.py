"""The analyst: takes snapshots as they appear, in order, and measures the surface around them.

It knows the run only through its directory, so it may be slow, stopped, killed and started again: it goes on where
its journal ends. Of several analysts the first writes the tables; the others hand it finished blocks as files.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from walkers_dist.distributed import devices, signals
from walkers_dist.landscape import build
from walkers_dist.records import disk, run_directory
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.journal import Journal
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.snapshots import snapshot_index
from walkers_dist.records.tables import ANALYSED, COLUMNS, Table
from walkers_dist.records.vectors import drop_vectors
from walkers_dist.roles import stability
from walkers_dist.roles.by_hand import experiment_at
from walkers_dist.roles.tasks import Rows, Task, tasks_at

POLL = 0.2  # s


def analyse(path: str, number: int, analysts: int, gpu: str | None) -> None:
    """Do analyst `number`'s part of the analysis of the run at `path`, until the run has ended and all is done.

    The work is niced where it shares a CPU with the walkers.
    """
    if threading.current_thread() is threading.main_thread():
        signals.ignore()  # the coordinator says when it ends
    if gpu is None:
        devices.be_nice()
    run = run_directory.open(path)
    devices.set_up_process(experiment_of(run).threads)
    Analyst(run, number, analysts, devices.device_of(gpu)).work()


def report_state(run: RunDirectory, number: int, state: str) -> None:
    """Say how an analyst stands: working, done, or given up (by its supervisor)."""
    run.analysis.mkdir(exist_ok=True)
    disk.replace(_state_file(run, number), json.dumps({"state": state}).encode())


def state_of(run: RunDirectory, number: int) -> str:
    try:
        return json.loads(_state_file(run, number).read_bytes())["state"]
    except FileNotFoundError:
        return "working"


def begin_again(run: RunDirectory, begin: int) -> None:
    """Forget what was measured at steps >= begin, in tables, vectors and blocks handed over, and who has finished."""
    journal = Journal(run)
    journal.recover()
    for name in ANALYSED:
        if run.table(name).exists():
            table = Table(run.table(name), COLUMNS[name])
            table.truncate(begin)
            table.close()
    journal.begin_again(begin)
    for block in run.analysis.glob("step-*.json"):
        if int(block.name.split("-")[1]) >= begin:
            block.unlink()
    drop_vectors(run, begin)
    for state in run.analysis.glob("analyst-*.json"):
        state.unlink()


def _state_file(run: RunDirectory, number: int) -> Path:
    return run.analysis / f"analyst-{number}.json"


class Analyst:
    def __init__(self, run: RunDirectory, number: int, analysts: int, device: torch.device) -> None:
        self.run, self.number, self.analysts = run, number, analysts
        self.experiment = experiment_of(run)
        # In double precision, whatever the walkers train in: signs near zero mean something then.
        self.landscape = build(self.experiment.landscape, seed=self.experiment.seed, dtype=torch.float64, device=device)
        self.tables: dict[str, Table] = {}
        self.journal = Journal(run)
        if number == 0:
            self.journal.recover()  # a kill may have left half a task
        self._finished = self.journal.finished()
        self._warned = False
        report_state(run, number, "working")

    def work(self) -> None:
        for position, task in enumerate(self._tasks()):
            if self.run.read_info().get("status") in ("interrupted", "failed"):
                return  # a resume goes on with it
            if self._is_finished(task):
                continue
            # Of what needs the others' files, none is missing where the first has taken over the blocks before it.
            mine = self.number == (0 if task.after_others else position % self.analysts)
            if self.number == 0:
                self._write(task, task.measure() if mine else self._await_block(position, task))
            elif mine:
                disk.replace(self._block(task), json.dumps(task.measure()).encode())
        report_state(self.run, self.number, "done")

    def _tasks(self) -> Iterator[Task]:
        """What is to be measured, in the order of the tables, as it appears; ends when the run has ended."""
        seen = 0
        kept: dict[tuple[str, str], int] = {}
        while True:
            ended = self.run.read_info().get("status") not in ("running", "paused")  # before the look at the index
            entries = snapshot_index(self.run).entries()
            for entry in entries[seen:]:
                yield from tasks_at(
                    self.run, self.landscape, experiment_at(self.run, entry.step, self.experiment), entry, kept
                )
            seen = len(entries)
            if ended:
                return
            time.sleep(POLL)

    def _write(self, task: Task, found: Rows) -> None:
        for name, rows in found.items():
            if name not in self.tables:
                self.tables[name] = Table(self.run.table(name), COLUMNS[name])
            self.tables[name].append(rows)
            self.tables[name].sync()
        if not self._warned and "eigenvalues" in found:
            then = experiment_at(self.run, task.step, self.experiment)
            self._warned = stability.warn(then, stability.largest(found["eigenvalues"]))
        self.journal.note(task.step, task.name, {name: self.tables[name].position() for name in found})

    # ---- several analysts -------------------------------------------------------------------------------------

    def _is_finished(self, task: Task) -> bool:
        if self.number > 0:
            return self._block(task).exists()
        return (task.step, task.name) in self._finished

    def _block(self, task: Task) -> Path:
        return self.run.analysis / f"step-{task.step:08d}-{task.name.replace(' ', '-')}.json"

    def _await_block(self, position: int, task: Task) -> Rows:
        """The block that another analyst makes; if that one has given up, made here."""
        other = position % self.analysts
        while not self._block(task).exists():
            if state_of(self.run, other) == "given up":
                return task.measure()
            time.sleep(POLL)
        return json.loads(self._block(task).read_bytes())
