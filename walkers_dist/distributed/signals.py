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

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Received:
    """The signal that asked this process to stop, if any, and how many did."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.count = 0
        self.patience = inf
        """So many signals are only noted; the next one raises `KeyboardInterrupt` in the main thread."""


@contextlib.contextmanager
def stop_signals() -> Iterator[Received]:
    """Turn SIGINT and SIGTERM into a note, as long as the context lasts; only in the main thread, elsewhere a no-op."""
    received = Received()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    calls = count(1)

    def handle(*_: object) -> None:
        if next(calls) > received.patience:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in STOPPING}
    wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

    def read() -> None:
        with contextlib.suppress(OSError):
            while numbers := os.read(reading.fileno(), 64):
                for number in numbers:
                    if number in STOPPING:
                        received.name = signal.Signals(number).name
                        received.count += 1

    thread = threading.Thread(target=read, name="signals", daemon=True)
    thread.start()
    try:
        yield received
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        writing.close()
        thread.join(1)
        reading.close()
