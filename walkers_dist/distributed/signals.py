"""Signals are read by a thread, since the main thread may sit in a collective; they act at a report."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from itertools import count
from math import inf

WARNING = signal.SIGUSR1  # what SLURM sends before the time limit
STOPPING = (signal.SIGINT, signal.SIGTERM, WARNING)


class Received:
    """The signal that asked this process to stop, if any, and whether an impatient second one came."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.count = 0
        self.at_once = False
        """A SIGINT came after another signal: somebody waits at a terminal."""
        self.patience = inf
        """So many signals are only noted; then a SIGINT (any, where it is 0) raises `KeyboardInterrupt` here."""

    @property
    def number(self) -> int:
        """What to pass on to another process."""
        return signal.Signals[self.name] if self.name else 0

    def note(self, number: int) -> None:
        self.at_once |= self.count > 0 and number == signal.SIGINT
        self.name = self.name or signal.Signals(number).name
        self.count += 1


@contextlib.contextmanager
def stop_signals() -> Iterator[Received]:
    """Turn SIGINT, SIGTERM and SLURM's warning into a note, as long as the context lasts.

    Only in the main thread, elsewhere a no-op. A signal that was held before is noted too.
    """
    received = Received()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    calls = count(1)

    def handle(number: int, _: object) -> None:
        if next(calls) > received.patience and (number == signal.SIGINT or not received.patience):
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in STOPPING}
    wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

    def read() -> None:
        with contextlib.suppress(OSError):
            while numbers := os.read(reading.fileno(), 64):
                for number in numbers:
                    if number in STOPPING:
                        received.note(number)

    thread = threading.Thread(target=read, name="signals", daemon=True)
    thread.start()
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    try:
        yield received
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        writing.close()
        thread.join(1)
        reading.close()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """What is started in this context holds these signals back, until it lets them through."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_quietly() -> None:
    """In a process that is only beginning, SIGINT and SIGTERM end it without a word; the warning waits.

    SLURM may warn every process of a step; one that can be gone on with must not die of it while it starts.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, [WARNING])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT, signal.SIGTERM])


def ignore() -> None:
    """For a process that another one ends."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
