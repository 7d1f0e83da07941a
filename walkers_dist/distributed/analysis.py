"""Ranks that analyse one point together: gathered here as child processes, or those of torchrun and srun.

Rank 0 is the process that asks; the others know of its work by what it says over the group `analysis`. A rank that
ends, for whatever reason, ends them all: the others' next collective fails.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

from walkers_dist.config.errors import DONE, FAILED, PeerLost, RunFailed, UserError
from walkers_dist.curvature import Operator
from walkers_dist.curvature.shared import Make, lead
from walkers_dist.distributed import devices, leash, local
from walkers_dist.distributed.groups import begin, broadcast, make_group, wait
from walkers_dist.distributed.start import World

PATIENCE = 300.0  # s that the ranks have to find each other: those of another node may wait for it
GRACE = 5.0  # s that a rank which failed has to say why
POLL = 0.05  # s
_calls = count()  # of `together` in a job, alike on all ranks: each has a group of its own
T = TypeVar("T")


class GlooTeam:
    """A `curvature.shared.Team` over a group; by itself where there is none."""

    def __init__(self, group: Any, rank: int, size: int) -> None:
        self.group, self.rank, self.size = group, rank, size

    def broadcast(self, tensor: Tensor) -> None:
        if self.group:
            broadcast(self.group, tensor)

    def sum(self, tensor: Tensor) -> None:
        if self.group:
            wait(begin(self.group.allreduce, [tensor]))

    def leave(self) -> None:
        """After the last call. The group's threads end here: one that lets go of a tensor while Python itself ends
        aborts the process."""
        self.group = None


def together(
    ranks: int,
    make: str,
    arguments: Mapping[str, Any],
    work: Callable[[Callable[[str], Operator]], T],
    own: Make | None = None,
) -> T | None:
    """`work(matrix)` on rank 0 of a team of `ranks`, and what it returns, as `curvature.shared.lead`.

    `make` is `module:function`, called on each rank as `function(rank, **arguments)`; it returns a
    `curvature.shared.Make`; where this process has its `own` already, that is for its children alone. `arguments` are
    plain JSON. Under torchrun, and srun with its variables, the ranks are
    those of the job, each of which calls this; None is returned on all but rank 0. Elsewhere this process is rank 0,
    and the others are its children, on a leash.
    Raises RunFailed, one line, where a rank is lost, and what `make` and `work` raise.
    """
    if world := World.from_environment():
        return _of_job(world, own or _maker(make)(world.rank, **arguments), work)
    made = own or _maker(make)(0, **arguments)
    if ranks == 1:
        return lead(GlooTeam(None, 0, 1), made, work)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with _children(ranks, store.port, make, arguments) as children:
        try:
            team = _gathered(World(0, ranks, "127.0.0.1", store.port), store, check=lambda: _refuse_dead(children))
            found = _led(team, made, work)
        except PeerLost:
            raise RunFailed(_why(children, store)) from None
        for child in children:
            child.wait()
    return found


def multiply(port: str, rank: str, ranks: str, make: str, arguments: str) -> int:
    """Be a child of `together`; returns the exit code. What went wrong is left in the store for rank 0 to say."""
    leash.wear()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 says when it ends
    world = World(int(rank), int(ranks), "127.0.0.1", int(port))
    store = world.connect()
    try:
        made = _maker(make)(world.rank, **json.loads(arguments))
        _led(_gathered(world, store), made, _nothing)
    except PeerLost:
        return FAILED
    except Exception as error:
        what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        store.set(f"failed-{world.rank}", " ".join(what.split()))
        return FAILED
    return DONE


def _of_job(world: World, made: Make, work: Callable[[Callable[[str], Operator]], T]) -> T | None:
    if world.size == 1:
        return lead(GlooTeam(None, 0, 1), made, work)
    name = f"analysis-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}-{next(_calls)}"
    try:
        return _led(_gathered(world, _store_of_job(world), name), made, work)
    except PeerLost:
        if world.rank == 0:
            raise RunFailed("another rank of the analysis is gone") from None
        raise SystemExit(FAILED) from None


def _led(team: GlooTeam, made: Make, work: Callable[[Callable[[str], Operator]], T]) -> T | None:
    """As `lead`; the team is left where all its ranks know that it is through."""
    try:
        found = lead(team, made, work)
    except UserError:
        team.leave()
        raise
    team.leave()
    return found


@cache
def _store_of_job(world: World) -> dist.Store:
    leash.wear()
    return world.connect()


def _gathered(
    world: World, store: dist.Store, name: str = "analysis", check: Callable[[], object] = lambda: None
) -> GlooTeam:
    """The team, when all its ranks have come. Raises RunFailed naming those that have not."""
    own = dist.PrefixStore(name, store)
    own.set(f"here-{world.rank}", devices.address_towards(world.host))
    deadline = time.monotonic() + PATIENCE
    while missing := [rank for rank in range(world.size) if not own.check([f"here-{rank}"])]:
        check()
        if time.monotonic() > deadline:
            raise RunFailed(f"ranks {missing} of the analysis did not appear within {PATIENCE:.0f} s")
        time.sleep(POLL)
    addresses = [own.get(f"here-{rank}").decode() for rank in range(world.size)]
    address = devices.address_towards(world.host, devices.first_beyond_loopback(addresses))
    group = make_group(own, "group", range(world.size), world.rank, backend="gloo", address=address)
    return GlooTeam(group, world.rank, world.size)


@contextlib.contextmanager
def _children(
    ranks: int, port: int, make: str, arguments: Mapping[str, Any]
) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                local.child(["_multiply", str(port), str(rank), str(ranks), make, json.dumps(arguments)])
            )
            for rank in range(1, ranks)
        ]


def _refuse_dead(children: Sequence[subprocess.Popen[bytes]]) -> None:
    if any(child.poll() is not None for child in children):
        raise PeerLost


def _why(children: Sequence[subprocess.Popen[bytes]], store: dist.Store) -> str:
    """Which rank went first, and why, as far as it can be told: those that only lost it say nothing."""
    deadline = time.monotonic() + GRACE
    while True:
        codes = [child.poll() for child in children]
        for rank, code in enumerate(codes, 1):
            if store.check([f"failed-{rank}"]):
                return f"rank {rank} of the analysis: {store.get(f'failed-{rank}').decode()}"
            if code is not None and code < 0:
                return f"rank {rank} of the analysis was ended by {signal.Signals(-code).name}"
        if None not in codes or time.monotonic() > deadline:
            left = [f"rank {rank} with exit code {code}" for rank, code in enumerate(codes, 1) if code is not None]
            return f"the analysis lost a rank: {', '.join(left) or 'its connection'}"
        time.sleep(POLL)


def _maker(path: str) -> Callable[..., Make]:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _nothing(matrix: Callable[[str], Operator]) -> None:
    """A follower has no work of its own."""
