"""Starts the ranks of a run on this machine: a child process owns the forkserver that they are forked from.

The child is a process of its own so that it works from a notebook and from a script without a main guard, and so that
the forkserver can be started before anything else: it loads every module that a rank uses once, for all of them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from walkers_dist.config.errors import DONE, FAILED, INTERRUPTED, WRONG_INPUT
from walkers_dist.distributed import leash
from walkers_dist.distributed.signals import Received, stop_signals

if TYPE_CHECKING:
    from walkers_dist.distributed.start import World

GRACE = 10.0  # s that the other ranks have to leave by themselves after one has failed
RESTARTS = 3  # of an analyst that died
POLL = 0.2  # s


# ---- the user's process ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def child(arguments: Sequence[str], **keywords: Any) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m walkers_dist ARGUMENTS` as a child on a leash, in a session of its own: signals are passed on."""
    with leash.tie() as tied:
        tied["pass_fds"] = (*tied["pass_fds"], *keywords.pop("pass_fds", ()))
        command = [sys.executable, "-m", "walkers_dist", *arguments]
        with subprocess.Popen(command, start_new_session=True, **tied, **keywords) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """The child's exit code. A first SIGINT or SIGTERM is passed on; a second one ends everything at once."""
    passed_on = 0
    with stop_signals() as received:
        while process.poll() is None:
            if received.count > passed_on:
                if passed_on:
                    process.kill()
                    return INTERRUPTED
                passed_on = received.count
                process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL)
    return process.returncode if process.returncode >= 0 else FAILED


# ---- the child ------------------------------------------------------------------------------------------------


def start_server(preload: str) -> None:
    """Start the forkserver, which loads the module `preload` while this process goes on; call it first thing."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    multiprocessing.set_forkserver_preload([preload])
    multiprocessing.forkserver.ensure_running()


@dataclass
class Ranks:
    """Ranks on this machine, and their store; the last `analysts` of them may die without harm.

    `rank(world)` runs in each and returns its exit code; `analyst_again(number)` in the process that replaces a dead
    analyst, up to three times; `on_death(run, rank, exitcode)` here, when a rank (or an analyst for the last time) did
    not leave by itself. Under `key` the store holds the run directory, once it is made.
    """

    size: int
    analysts: int
    rank: Callable[[World], int]
    analyst_again: Callable[[tuple[str, int]], int]
    on_death: Callable[[str, int, int], None]
    key: str

    def run(self) -> int:
        """Start them all and wait for the end; returns the exit code of the run."""
        import torch.distributed as dist

        from walkers_dist.distributed.start import World

        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._processes = [
            _start(self.rank, World(i, self.size, "127.0.0.1", self._store.port, restarts_analysts=True))
            for i in range(self.size)
        ]
        self._restarts = dict.fromkeys(range(self.size - self.analysts, self.size), RESTARTS)
        self._code, self._deadline = DONE, inf
        with stop_signals() as signals:
            self._watch(signals)
        if self._code not in (DONE, INTERRUPTED, WRONG_INPUT) and self.run_path:
            self.on_death(self.run_path, 0, self._code)
        return self._code

    @property
    def run_path(self) -> str:
        """Where the run lies; empty before that is decided."""
        return self._store.get(self.key).decode() if self._store.check([self.key]) else ""

    def _watch(self, signals: Received) -> None:
        running, told = set(range(self.size)), False
        while running:
            multiprocessing.connection.wait([self._processes[i].sentinel for i in running], POLL)
            if signals.name and not told:
                told = True
                self._processes[0].terminate()  # the coordinator ends the run, with a checkpoint
            for i in [i for i in running if self._processes[i].exitcode is not None]:
                if not self._starts_again(i):
                    running.discard(i)
                    self._left(i, self._processes[i].exitcode or DONE)
            if running <= self._restarts.keys():  # the coordinator has waited for them, or the run has no end
                self._end_by(0)
            if time.monotonic() >= self._deadline:
                for i in running:
                    self._processes[i].kill()

    def _starts_again(self, i: int) -> bool:
        if not self._restarts.get(i) or self._processes[i].exitcode == DONE or self._deadline < inf:
            return False
        self._restarts[i] -= 1
        self._processes[i] = _start(self.analyst_again, (self.run_path, i))
        return True

    def _left(self, i: int, exitcode: int) -> None:
        if exitcode == DONE:
            return
        first = self._deadline == inf
        if i == 0 and exitcode > 0 and (first or self._code == DONE):
            self._code = exitcode
        elif i not in self._restarts and self._code == DONE:
            self._code = FAILED
        if first and exitcode != INTERRUPTED:
            self.on_death(self.run_path, i, exitcode)
        if i not in self._restarts:
            self._end_by(GRACE)

    def _end_by(self, seconds: float) -> None:
        self._deadline = min(self._deadline, time.monotonic() + seconds)


def _start(target: Callable[[Any], Any], argument: object) -> BaseProcess:
    process = multiprocessing.get_context("forkserver").Process(target=_play, args=(target, argument))
    process.start()
    return process


def _play(target: Callable[[Any], Any], argument: object) -> None:
    leash.wear()
    sys.exit(target(argument))
