"""How the sums of an exchange travel between walker processes, and the center to the coordinator."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch
from torch import Tensor

from walkers_dist.distributed.groups import begin, wait

CENTER_AT_REPORTS = 1_000_000
"""Above this many parameters the coordinator receives the center at reports only, not at every exchange."""


class Exchange(Protocol):
    """Adds up tensors over the walker processes, in place; `place` of `places` is this process's."""

    place: int
    places: int

    def start(self, flat: Tensor) -> None: ...
    def finish(self) -> None: ...


class LocalExchange:
    """All walkers are rows of one process: the sums are complete as they are."""

    place, places = 0, 1

    def start(self, flat: Tensor) -> None:
        pass

    def finish(self) -> None:
        pass


class CollectiveExchange:
    """One `all_reduce` among the walker processes; its results are bitwise equal on all of them."""

    def __init__(self, force: Any, place: int, places: int) -> None:
        self.force, self.place, self.places = force, place, places
        self._work: Any = None

    def start(self, flat: Tensor) -> None:
        self._work = begin(self.force.allreduce, [flat])

    def finish(self) -> None:
        wait(self._work)
        self._work = None  # it holds the sums


class Link(Protocol):
    """Takes the center from the first walker process to the coordinator."""

    def send(self, c: Tensor) -> None: ...
    def settle(self) -> None:
        """Return once the center that was sent may be changed."""

    def drain(self) -> None:
        """Return once everything that was sent has left."""

    def receive(self, c: Tensor) -> None: ...


class LocalLink:
    """Walkers and coordinator in one process."""

    def __init__(self) -> None:
        self._center: Tensor | None = None

    def send(self, c: Tensor) -> None:
        self._center = c

    def settle(self) -> None:
        pass

    def drain(self) -> None:
        pass

    def receive(self, c: Tensor) -> None:
        assert self._center is not None, "no center was sent"
        c.copy_(self._center)


class GroupLink:
    """A group of two, the coordinator at place 0; sending goes on in the background."""

    def __init__(self, group: Any) -> None:
        self.group = group
        self._work: Any = None
        self._pinned: Tensor | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._sending: Future[None] | None = None

    def send(self, c: Tensor) -> None:
        self.drain()
        if c.is_cuda:
            self._send_from_gpu(c)
        else:
            self._work = begin(self.group.send, [c], 0, 0)

    def _send_from_gpu(self, c: Tensor) -> None:
        """Copy to pinned memory behind the kernels in flight; a thread waits for that and sends the copy."""
        if self._pinned is None:
            self._pinned = torch.empty(c.shape, dtype=c.dtype, pin_memory=True)
            self._thread = ThreadPoolExecutor(1, "link")
        pinned = self._pinned.copy_(c, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()

        def send() -> None:
            copied.synchronize()
            wait(begin(self.group.send, [pinned], 0, 0))

        assert self._thread is not None
        self._sending = self._thread.submit(send)

    def drain(self) -> None:
        self.settle()
        if self._sending is not None:
            self._sending.result()
            self._sending = None

    def settle(self) -> None:
        if self._work is not None:
            wait(self._work)
            self._work = None

    def receive(self, c: Tensor) -> None:
        wait(begin(self.group.recv, [c], 1, 0))
