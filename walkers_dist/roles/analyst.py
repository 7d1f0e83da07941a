"""The analyst: takes snapshots as they appear, in order, and measures the curvature of the surface around them.

It knows the run only through its directory, so it may be slow, stopped, killed and started again: it goes on where
its table ends. Of several analysts the first writes the table; the others hand it their finished blocks as files.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from walkers_dist import curvature
from walkers_dist.config.course import Change, Course, History
from walkers_dist.config.errors import UserError
from walkers_dist.config.schema import Experiment
from walkers_dist.distributed import devices
from walkers_dist.landscape import build, stream
from walkers_dist.records import disk, run_directory
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.index import Entry
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.snapshots import read_snapshot, snapshot_index
from walkers_dist.records.tables import COLUMNS, Table, read_rows

POLL = 0.2  # s
PATIENCE = 30.0  # s that a file another node wrote may take to come into sight
Row = list[object]
Point = tuple[int, str, bool]  # step, walker, whether the run ended there


def analyse(path: str, number: int, analysts: int, gpu: str | None) -> None:
    """Do analyst `number`'s part of the analysis of the run at `path`, until the run has ended and all is done.

    The work is niced where it shares a CPU with the walkers.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator says when it ends
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
    """Forget who has finished, and the blocks of steps >= begin that were handed over."""
    for block in run.analysis.glob("step-*.json"):
        if int(block.name.split("-")[1]) >= begin:
            block.unlink()
    for state in run.analysis.glob("analyst-*.json"):
        state.unlink()


def _state_file(run: RunDirectory, number: int) -> Path:
    return run.analysis / f"analyst-{number}.json"


class Analyst:
    def __init__(self, run: RunDirectory, number: int, analysts: int, device: torch.device) -> None:
        self.run, self.number, self.analysts = run, number, analysts
        self.experiment = experiment_of(run)
        self.device = device
        # Second derivatives in double precision, whatever the walkers train in: signs near zero mean something then.
        self.landscape = build(self.experiment.landscape, seed=self.experiment.seed, dtype=torch.float64, device=device)
        self.path = run.table("eigenvalues")
        self.table: Table | None = None
        if number == 0 and self.path.exists():
            self._open_table().drop_last_block()  # a kill may have left half of it
        report_state(run, number, "working")

    def work(self) -> None:
        for position, (step, walker, last) in enumerate(self._points()):
            if self.run.read_info().get("status") in ("interrupted", "failed"):
                return  # a resume goes on with it
            if self._is_done(step, walker):
                continue
            mine = position % self.analysts == self.number
            if self.number > 0:
                if mine:
                    disk.replace(self._block(step, walker), json.dumps(self._measure(step, walker, last)).encode())
                continue
            rows = self._measure(step, walker, last) if mine else self._await_block(position, step, walker, last)
            self._open_table().append(rows)
        report_state(self.run, self.number, "done")

    def _points(self) -> Iterator[Point]:
        """What is to be analysed, in the order of the table, as it appears; ends when the run has ended."""
        seen = 0
        while True:
            ended = self.run.read_info().get("status") not in ("running", "paused")  # before the look at the index
            entries = snapshot_index(self.run).entries()
            for entry in entries[seen:]:
                yield from self._points_of(entry)
            seen = len(entries)
            if ended:
                return
            time.sleep(POLL)

    def _points_of(self, entry: Entry) -> Iterator[Point]:
        wanted = self._experiment_at(entry.step).curvature
        if wanted and (entry.last or entry.step % wanted.every == 0):
            yield from ((entry.step, name, entry.last) for name in wanted.of)

    def _experiment_at(self, step: int) -> Experiment:
        """The experiment as the walkers had it at a step: by the schedule, and by the changes by hand in the events."""
        by_hand = [row for row in read_rows(self.run.table("events")) if row["source"] in ("live", "resume")]
        given = tuple(
            Change(int(row["step"]), row["source"], row["key"], None, json.loads(row["new"]))
            for row in by_hand
            if row["key"]
        )
        return Course(self.experiment, History(given=given)).experiment_at(step)

    def _open_table(self) -> Table:
        if self.table is None:
            self.table = Table(self.path, COLUMNS["eigenvalues"])
        return self.table

    # ---- one point --------------------------------------------------------------------------------------------

    def _measure(self, step: int, walker: str, last: bool) -> list[Row]:
        wanted = self._experiment_at(step).curvature
        assert wanted is not None
        theta = read_snapshot(self.run, step, walker, patience=PATIENCE)
        H = curvature.hessian(self.landscape, theta)
        head: Row = [step, walker, "hessian"]
        rows: list[Row] = []
        try:
            if wanted.top or wanted.bottom:
                v0 = torch.randn(H.size, generator=stream(self.experiment.seed, walker, "lanczos", step))
                edges = curvature.extremes(H, top=wanted.top, bottom=wanted.bottom, v0=v0)
                rows += _edges(head, edges, wanted.bottom)
            if wanted.full == "always" or (wanted.full == "at_end" and last):
                values = curvature.spectrum(H).eigenvalues.flip(0).tolist()
                rows += [[*head, "full", rank, value, None] for rank, value in enumerate(values, 1)]
        except UserError as error:  # a diverged walker has no spectrum: its rows say so
            print(f"{walker} at step {step}: {error}", flush=True)
            rows = [[*head, "top", 1, float("nan"), None]]
        return rows

    # ---- several analysts -------------------------------------------------------------------------------------

    def _is_done(self, step: int, walker: str) -> bool:
        if self.number > 0:
            return self._block(step, walker).exists()
        return any((row["step"], row["walker"]) == (str(step), walker) for row in read_rows(self.path))

    def _block(self, step: int, walker: str) -> Path:
        return self.run.analysis / f"step-{step:08d}-{walker}.json"

    def _await_block(self, position: int, step: int, walker: str, last: bool) -> list[Row]:
        """The block that another analyst makes; if that one has given up, made here."""
        other = position % self.analysts
        block = self._block(step, walker)
        while not block.exists():
            if state_of(self.run, other) == "given up":
                return self._measure(step, walker, last)
            time.sleep(POLL)
        return json.loads(block.read_bytes())


def _edges(head: Row, edges: curvature.Extremes, bottom: int) -> list[Row]:
    """Rows of both ends, each ranked from its outer end: the largest first, then the smallest."""
    pairs = list(zip(edges.eigenvalues.tolist(), edges.residuals.tolist(), strict=True))
    sides = (("top", pairs[bottom:][::-1]), ("bottom", pairs[:bottom]))
    return [[*head, side, rank, *pair] for side, found in sides for rank, pair in enumerate(found, 1)]
