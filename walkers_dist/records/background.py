"""One thread that does the slow writes, in order, while the walkers move on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class BackgroundWriter(Generic[T]):
    """Runs jobs one after the other in a thread of its own.

    The first job that raises is the last that runs: its error comes out of the next call of any method.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], T] | None] = SimpleQueue()
        self._results: deque[T] = deque()
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._open = 0
        self._thread = threading.Thread(target=self._work, name="background writer", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T]) -> None:
        """Have `job` done after those submitted before."""
        self._raise()
        with self._changed:
            self._open += 1
        self._jobs.put(job)

    def finished(self) -> list[T]:
        """What the jobs returned that ended since this was last asked, in order."""
        self._raise()
        return [self._results.popleft() for _ in range(len(self._results))]

    def drain(self) -> None:
        """Return when every job submitted so far has ended; their results are still to be asked for."""
        with self._changed:
            self._changed.wait_for(lambda: self._open == 0)
        self._raise()

    def close(self) -> None:
        """Do what is submitted, then end the thread."""
        self._jobs.put(None)
        self._thread.join()
        self._raise()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._error is None:
                    self._results.append(job())
            except BaseException as error:
                self._error = error
            del job  # and what it was to write
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
