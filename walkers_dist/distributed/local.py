"""Starts the ranks of a run on this machine: a child process owns the forkserver that they are forked from.

The child is a process of its own so that it works from a notebook and from a script without a main guard, and so that
the forkserver can be started before anything else: it loads every module that a rank uses once, for all of them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from walkers_dist.config.errors import DONE, FAILED, INTERRUPTED
from walkers_dist.distributed import leash
from walkers_dist.distributed.signals import Received, end_quietly, held, stop_signals

if TYPE_CHECKING:
    from walkers_dist.distributed.start import World

GRACE = 10.0  # s that the other ranks have to leave by themselves after one has failed
AT_ONCE = 2.0  # s that the child has to end its ranks, and to say so, when nobody wants to wait
RESTARTS = 3  # of an analyst that died
POLL = 0.2  # s
RUN_KEY, REFUSED_KEY = "run", "refused"
"""Under these keys of the store the coordinator leaves where the run lies, and why it does not begin."""


# ---- the user's process ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def child(arguments: Sequence[str], **keywords: Any) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m walkers_dist ARGUMENTS` as a child on a leash, in a session of its own: signals are passed on."""
    with leash.tie() as tied:
        tied["pass_fds"] = (*tied["pass_fds"], *keywords.pop("pass_fds", ()))
        command = [sys.executable, "-m", "walkers_dist", *arguments]
        with held():  # until it can listen
            process = subprocess.Popen(command, start_new_session=True, **tied, **keywords)
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """The child's exit code. The first signal is passed on; a SIGINT after it ends everything at once."""
    passed_on, deadline = False, inf
    with stop_signals() as received:
        while process.poll() is None and time.monotonic() < deadline:
            if received.name and not passed_on:
                passed_on = True
                process.send_signal(received.number)
            if received.at_once and deadline == inf:
                deadline = time.monotonic() + AT_ONCE
                process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL)
    if process.poll() is None:
        process.kill()
        return INTERRUPTED
    if process.returncode >= 0:
        return process.returncode
    if passed_on:  # before it could listen
        return INTERRUPTED
    print(f"walkers: the launcher was ended by {signal.Signals(-process.returncode).name}", file=sys.stderr)
    return FAILED


# ---- the child ------------------------------------------------------------------------------------------------


def start_server(preload: str) -> None:
    """Start the forkserver, which loads the module `preload` while this process goes on; call it first thing."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    # A store looks up the name of every loopback address that connects to it: a silent name server costs 1 s, not 10.
    os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")
    multiprocessing.set_forkserver_preload([preload])
    multiprocessing.resource_tracker.ensure_running()  # which would let through what is held
    with held():  # SLURM sends signals to every process: the server ends with this one, not before
        multiprocessing.forkserver.ensure_running()


def end_server() -> None:
    """End the forkserver at once: else it goes on loading, and whoever reads this process's output waits for it."""
    server: Any = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
    if server._forkserver_pid is not None:
        os.kill(server._forkserver_pid, signal.SIGKILL)


@dataclass
class Ranks:
    """Ranks on this machine, and their store; the last `analysts` of them may die without harm.

    `rank(world)` runs in each and returns its exit code, also in the process that takes the place of a dead analyst,
    up to three times; `on_death(run, rank, exitcode)` here, when the first of the ranks that failed (or an analyst for
    the last time) has left.
    """

    size: int
    analysts: int
    rank: Callable[[World], int]
    on_death: Callable[[str, int, int], None]

    def run(self) -> int:
        """Start them all and wait for the end; returns the exit code of the run."""
        import torch.distributed as dist

        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._processes = [self._start(i) for i in range(self.size)]
        self._restarts = dict.fromkeys(range(self.size - self.analysts, self.size), RESTARTS)
        self._code, self._deadline, self._told = DONE, inf, 0
        with stop_signals() as signals:
            self._watch(signals)
        if signals.name and not self.run_path:  # nothing had begun
            return INTERRUPTED
        return self._code

    @property
    def run_path(self) -> str:
        """Where the run lies; empty before that is decided."""
        return self._left_in_store(RUN_KEY)

    @property
    def refused(self) -> str:
        """Why the coordinator refused to begin, if it did."""
        return self._left_in_store(REFUSED_KEY)

    def _left_in_store(self, key: str) -> str:
        return self._store.get(key).decode() if self._store.check([key]) else ""

    def _watch(self, signals: Received) -> None:
        running = set(range(self.size))
        while running:
            multiprocessing.connection.wait([self._processes[i].sentinel for i in running], POLL)
            if signals.name and not self._told:
                self._told = signals.number
                self._tell_coordinator()
            if signals.at_once:
                self._code = INTERRUPTED
                self._end_by(0)
            for i in [i for i in running if self._processes[i].exitcode is not None]:
                if not self._starts_again(i):
                    running.discard(i)
                    self._left(i, self._processes[i].exitcode or DONE)
            if running <= self._restarts.keys():  # the coordinator has waited for them, or the run has no end
                self._end_by(0)
            if time.monotonic() >= self._deadline:
                for i in running:
                    self._processes[i].kill()

    def _tell_coordinator(self) -> None:
        """It ends the run, with a checkpoint."""
        process = self._processes[0]
        if process.pid is not None and process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, self._told)

    def _starts_again(self, i: int) -> bool:
        if not self._restarts.get(i) or self._processes[i].exitcode == DONE or self._deadline < inf:
            return False
        self._restarts[i] -= 1
        self._processes[i] = self._start(i, again=True)
        return True

    def _start(self, i: int, again: bool = False) -> BaseProcess:
        from walkers_dist.distributed.start import World

        world = World(i, self.size, "127.0.0.1", self._store.port, restarts_analysts=True, again=again)
        process = multiprocessing.get_context("forkserver").Process(target=_play, args=(self.rank, world))
        process.start()
        return process

    def _left(self, i: int, exitcode: int) -> None:
        if exitcode == DONE:
            return
        first = self._deadline == inf
        if self._code == INTERRUPTED:
            return
        if i == 0 and exitcode > 0 and (first or self._code == DONE):
            self._code = exitcode
        elif i not in self._restarts and self._code == DONE:
            self._code = FAILED
        if first and exitcode not in (INTERRUPTED, -self._told):
            self.on_death(self.run_path, i, exitcode)
        if i not in self._restarts:
            self._end_by(GRACE if self.run_path else 0)  # before there is a run, they only wait for its plan

    def _end_by(self, seconds: float) -> None:
        self._deadline = min(self._deadline, time.monotonic() + seconds)


def _play(rank: Callable[[World], int], world: World) -> None:
    end_quietly()
    leash.wear()
    sys.exit(rank(world))
