"""How the ranks of one start find each other: roster, plan, acceptance, go.

Every rank posts who it is, with a fresh nonce. Rank 0 plans and publishes the plan with all nonces, again whenever a
nonce changes (a rank was restarted); a rank accepts only a plan that holds its own nonce, and starts when rank 0 says
that all have accepted. What the store remembers of an earlier start is harmless: its nonces are nobody's.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from walkers_dist.config.errors import RunFailed
from walkers_dist.distributed.plan import Entry

POLL = 0.01  # s
GRACE = 5.0  # s


@dataclass(frozen=True)
class World:
    """What the launcher tells a rank: its number, how many there are, and where the store is."""

    rank: int
    size: int
    host: str
    port: int
    hosts_store: bool = False
    """Whether this rank holds the store (rank 0 under srun); else the launcher does."""
    restarts_analysts: bool = False
    """Whether the launcher starts a dead analyst again; else its rank must, since a dead rank would end the job."""
    again: bool = False
    """Whether this rank takes the place of a dead analyst."""

    @classmethod
    def from_environment(cls) -> World | None:
        """The world that torchrun, or srun with the same variables, describes; None where there is none."""
        e = os.environ
        if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= e.keys():
            return None
        agent = e.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        rank = int(e["RANK"])
        return cls(rank, int(e["WORLD_SIZE"]), e["MASTER_ADDR"], int(e["MASTER_PORT"]), rank == 0 and not agent)

    def connect(self, *, own: bool = True) -> dist.Store:
        """A client of the store, one per thread that uses it; `own` hosts it where that is this rank's part."""
        hosts = self.hosts_store and own
        return dist.TCPStore(
            self.host, self.port, is_master=hosts, wait_for_workers=False, timeout=timedelta(seconds=300)
        )


@dataclass(frozen=True)
class Start:
    """One start of all ranks: its id, and what rank 0 published for it."""

    id: str
    published: dict[str, Any]

    def store(self, store: dist.Store) -> dist.Store:
        """The part of the store that belongs to this start alone."""
        return dist.PrefixStore(f"start-{self.id}", store)


def lead(
    store: dist.Store, size: int, mine: Entry, publish: Callable[[list[Entry]], dict[str, Any]], patience: float
) -> Start:
    """Rank 0's part: gather the roster, publish `publish(roster)`, and say go when every rank has accepted it.

    Raises `RunFailed` naming the ranks that did not appear, or did not accept, within `patience` seconds.
    """
    post(store, 0, mine)
    deadline = time.monotonic() + patience
    roster: list[Entry] = []
    while True:
        now = _roster(store, size, deadline)
        if now != roster:
            roster, id_ = now, secrets.token_hex(8)
            plan = {"id": id_, "nonces": [entry.nonce for entry in roster], **publish(roster)}
            store.set("plan", json.dumps(plan))
        missing = [rank for rank in range(1, size) if not store.check([f"accepted-{id_}-{rank}"])]
        if not missing:
            store.set(f"go-{id_}", "1")
            return Start(id_, plan)
        _give_up_after(deadline, f"ranks {missing} did not accept the plan")
        time.sleep(POLL)


def follow(store: dist.Store, rank: int, mine: Entry, again: bool = False) -> Start:
    """The part of every other rank: wait for a plan with my nonce, accept it, wait for go (or for a newer plan).

    A rank that is started `again` may come too late for that: it joins a start which the one before it accepted.
    """
    post(store, rank, mine)
    accepted = ""
    while True:
        if store.check(["plan"]):
            plan = json.loads(store.get("plan"))
            mine_too = plan["nonces"][rank : rank + 1] == [mine.nonce]
            if mine_too and plan["id"] != accepted:
                accepted = plan["id"]
                store.set(f"accepted-{accepted}-{rank}", "1")
            if (mine_too or again) and store.check([f"go-{plan['id']}"]):
                return Start(plan["id"], plan)
        time.sleep(POLL)


def tell_of_leaving(store: dist.Store, rank: int) -> None:
    """A rank's last word; the store may be gone."""
    with contextlib.suppress(RuntimeError):
        store.set(f"left-{rank}", "1")


def let_others_leave(store: dist.Store, size: int) -> None:
    """Of the rank that holds the store: srun ends the others when one has left with a code that is not 0."""
    deadline = time.monotonic() + GRACE
    left = [f"left-{rank}" for rank in range(1, size)]
    while left and not store.check(left) and time.monotonic() < deadline:
        time.sleep(POLL)


def post(store: dist.Store, rank: int, mine: Entry) -> None:
    store.set(f"roster-{rank}", json.dumps(asdict(mine)))


def _roster(store: dist.Store, size: int, deadline: float) -> list[Entry]:
    keys = [f"roster-{rank}" for rank in range(size)]
    while not store.check(keys):
        missing = [rank for rank, key in enumerate(keys) if not store.check([key])]
        _give_up_after(deadline, f"ranks {missing} did not appear")
        time.sleep(POLL)
    entries = [json.loads(store.get(key)) for key in keys]
    return [Entry(e["host"], tuple(e["gpus"]), e["nonce"], e["address"]) for e in entries]


def _give_up_after(deadline: float, why: str) -> None:
    if time.monotonic() > deadline:
        raise RunFailed(f"{why} within exchange.timeouts.start")
