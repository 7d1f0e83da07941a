"""A rank among the others of its start: who they are, what it shares with them, and whether they are alive."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch.distributed as dist

from walkers_dist.config.course import History
from walkers_dist.config.errors import FAILED
from walkers_dist.distributed import devices
from walkers_dist.distributed.groups import make_group
from walkers_dist.distributed.heartbeat import Heartbeat
from walkers_dist.distributed.plan import Plan
from walkers_dist.distributed.start import Start, World
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.guard import Guard


class Party:
    """What rank 0 published for this start, as this rank sees it; `store` is the main thread's client."""

    def __init__(self, world: World, store: dist.Store, start: Start) -> None:
        self.world, self.start = world, start
        self.plan = Plan.from_json(start.published["plan"])
        self.seat = self.plan.seats[world.rank]
        self.run = RunDirectory(Path(start.published["run"]))
        self.history = History.from_json(start.published["history"])
        self._store = start.store(store)

    def group(self, name: str) -> Any:
        """One of the groups: `core`, coordinator and walker processes; `force`, the walker processes; `link`,
        coordinator and first walker process. None where this rank is no member, or alone in it."""
        walkers = [seat.rank for seat in self.plan.walkers]
        members = {"core": [0, *walkers], "force": walkers, "link": [0, walkers[0]]}[name]
        backend = self.plan.force_backend or "gloo" if name == "force" else "gloo"
        address = devices.address_towards(self.world.host, self.start.published["beyond"])
        return make_group(self._store, name, members, self.world.rank, backend=backend, address=address)

    @contextlib.contextmanager
    def watched(self, guard: Guard, silence: float) -> Iterator[None]:
        """A heartbeat as long as the context lasts: the coordinator watches all walker processes, each of them the
        coordinator. One that is silent for `silence` seconds ends the run, named in `error.txt`."""
        others = [seat.name for seat in (self.plan.walkers if self.world.rank == 0 else self.plan.seats[:1])]

        def end(name: str, seconds: float) -> None:
            guard.fail(f"{name} has been silent for {seconds:.0f} s (exchange.timeouts.silence)")
            os._exit(FAILED)

        def store() -> dist.Store:
            return self.start.store(self.world.connect(own=False))

        heartbeat = Heartbeat(store, guard.name, others, silence, end)
        try:
            yield
        finally:
            heartbeat.stop()
