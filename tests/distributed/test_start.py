"""How ranks meet, over a real store: restarted ones, what an earlier start left, and the ones that never come."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist

from walkers_dist.config.errors import RunFailed, UserError
from walkers_dist.distributed.groups import make_group, wait
from walkers_dist.distributed.plan import Entry
from walkers_dist.distributed.start import Start, World, follow, lead, post

Together = Callable[..., list[Any]]
Make = Callable[..., Entry]
SOON, LONG = 0.5, 30.0  # s


class Publisher:
    """Publishes the nonces it was given, and counts how often it was asked."""

    def __init__(self) -> None:
        self.rosters: list[list[str]] = []

    def __call__(self, roster: list[Entry]) -> dict[str, Any]:
        self.rosters.append([entry.nonce for entry in roster])
        return {"told": self.rosters[-1]}


def test_all_start_with_what_was_published(world: World, together: Together, entry: Make) -> None:
    publish = Publisher()
    entries = [entry(f"n{i}", f"host{i}", [f"GPU-{i}"]) for i in range(4)]
    seen: list[list[Entry]] = []

    def both(roster: list[Entry]) -> dict[str, Any]:
        seen.append(roster)
        return publish(roster)

    starts = together(
        lambda: lead(world.connect(), 4, entries[0], both, LONG),
        *((lambda i=i: follow(world.connect(), i, entries[i])) for i in (3, 1, 2)),
    )
    assert all(start == starts[0] for start in starts)
    assert starts[0].published["told"] == ["n0", "n1", "n2", "n3"] and seen == [entries]


def test_a_rank_alone(world: World, entry: Make) -> None:
    assert lead(world.connect(), 1, entry("n0"), Publisher(), SOON).published["told"] == ["n0"]


def test_a_restarted_rank_is_planned_anew(world: World, together: Together, entry: Make, until: Any) -> None:
    """Rank 1 posts, is read, dies before it accepts, and comes again with another nonce."""
    publish, store = Publisher(), world.connect()
    post(store, 1, entry("first life"))

    def second_life() -> Start:
        until(lambda: publish.rosters, "the first plan")
        return follow(world.connect(), 1, entry("second life"))

    starts = together(
        lambda: lead(world.connect(), 3, entry("n0"), publish, LONG),
        second_life,
        lambda: follow(world.connect(), 2, entry("n2")),
    )
    assert publish.rosters == [["n0", "first life", "n2"], ["n0", "second life", "n2"]]
    assert all(start == starts[0] for start in starts) and starts[0].published["told"] == publish.rosters[-1]


def test_a_rank_that_died_after_it_accepted(world: World, together: Together, entry: Make, until: Any) -> None:
    """What it accepted is worth nothing: nobody starts with a plan that holds a dead rank's nonce."""
    publish, store = Publisher(), world.connect()
    post(store, 1, entry("first life"))

    def accept_and_die_then_live_again() -> Start:
        until(lambda: store.check(["plan"]), "the first plan")
        store.set(f"accepted-{json.loads(store.get('plan'))['id']}-1", "1")
        return follow(world.connect(), 1, entry("second life"))

    def late() -> Start:
        post(store, 2, entry("n2"))  # seen, but it accepts only when rank 1 is there again
        until(lambda: len(publish.rosters) == 2, "the second plan")
        return follow(world.connect(), 2, entry("n2"))

    starts = together(
        lambda: lead(world.connect(), 3, entry("n0"), publish, LONG), accept_and_die_then_live_again, late
    )
    assert all(start.published["told"] == ["n0", "second life", "n2"] for start in starts)


def test_who_takes_a_dead_ranks_place_after_the_go_joins(world: World, together: Together, entry: Make) -> None:
    """An analyst may die at any time: the others have long begun, and nobody leads any more."""
    lead_and_follow = together(
        lambda: lead(world.connect(), 2, entry("n0"), Publisher(), LONG),
        lambda: follow(world.connect(), 1, entry("first life")),
    )
    (late,) = together(lambda: follow(world.connect(), 1, entry("second life"), again=True))
    assert late == lead_and_follow[0] and late.published["told"] == ["n0", "first life"]


def test_what_an_earlier_start_left_is_ignored(world: World, together: Together, entry: Make) -> None:
    """The whole job was restarted, its store was not: everything in there is of dead processes."""

    def start(life: str, *comes_after: float) -> list[Start]:
        """Ranks 0, 1 and 2, each so many seconds after the start."""

        def rank(number: int) -> Start:
            time.sleep(comes_after[number])
            mine = entry(f"{number} {life}")
            if number == 0:
                return lead(world.connect(), 3, mine, Publisher(), LONG)
            return follow(world.connect(), number, mine)

        return together(*((lambda number=number: rank(number)) for number in range(3)))

    first = start("once", 0, 0, 0)
    second = start("again", SOON / 2, 0, SOON)  # rank 1 finds the old plan and its go, rank 0 the old roster
    for starts, life in ((first, "once"), (second, "again")):
        assert all(s == starts[0] for s in starts)
        assert starts[0].published["told"] == [f"{number} {life}" for number in range(3)]
    assert first[0].id != second[0].id


def test_groups_of_two_starts_in_one_store(world: World, together: Together) -> None:
    """The keys that a group leaves in the store do not disturb the next start's group of the same name."""
    for start in (Start(secrets.token_hex(8), {}) for _ in range(2)):

        def member(rank: int, start: Start = start) -> float:
            time.sleep(SOON / 2 if rank == 0 else 0)  # rank 3 finds what the last rank 0 left
            mine = start.store(world.connect())
            group = make_group(mine, "core", [0, 3], rank, backend="gloo", address="127.0.0.1")
            x = torch.tensor([float(rank)])
            wait(group.allreduce([x]))
            return x.item()

        assert together(lambda: member(0), lambda: member(3)) == [3.0, 3.0]


@pytest.mark.parametrize(("there", "missing"), [([1], r"\[2\]"), ([], r"\[1, 2\]")])
def test_ranks_that_do_not_appear_are_named(world: World, entry: Make, there: list[int], missing: str) -> None:
    for rank in there:
        post(world.connect(), rank, entry("n"))
    with pytest.raises(RunFailed, match=rf"ranks {missing} did not appear within exchange.timeouts.start"):
        lead(world.connect(), 3, entry("n0"), Publisher(), SOON)


def test_ranks_that_do_not_accept_are_named(world: World, together: Together, entry: Make) -> None:
    """Rank 2 has posted and hangs; it is not rank 1's fault, who is ready."""
    for rank in (1, 2):
        post(world.connect(), rank, entry(f"n{rank}"))

    def accept_only(store: dist.Store) -> None:
        store.wait(["plan"])
        store.set(f"accepted-{json.loads(store.get('plan'))['id']}-1", "1")

    mine, theirs = world.connect(), world.connect()

    def refused() -> str:
        with pytest.raises(RunFailed) as failed:
            lead(mine, 3, entry("n0"), Publisher(), SOON)
        return str(failed.value)

    message, _ = together(refused, lambda: accept_only(theirs))
    assert message == "ranks [2] did not accept the plan within exchange.timeouts.start"


def test_a_plan_that_cannot_be_made_is_the_leaders_error(world: World, entry: Make) -> None:
    def refuse(roster: list[Entry]) -> dict[str, Any]:
        raise UserError(f"{len(roster)} ranks were started, and 9 are needed")

    post(world.connect(), 1, entry("n1"))
    with pytest.raises(UserError, match="2 ranks were started"):
        lead(world.connect(), 2, entry("n0"), refuse, LONG)


# ---- what a launcher says --------------------------------------------------------------------------------------------

VARIABLES = {"RANK": "3", "WORLD_SIZE": "5", "MASTER_ADDR": "node7", "MASTER_PORT": "4711"}


def set_variables(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name in (*VARIABLES, "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_the_world_of_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, **VARIABLES)
    assert World.from_environment() == World(3, 5, "node7", 4711, hosts_store=False)
    set_variables(monkeypatch, **{**VARIABLES, "RANK": "0"})  # srun: rank 0 holds the store
    assert World.from_environment() == World(0, 5, "node7", 4711, hosts_store=True)
    set_variables(monkeypatch, **{**VARIABLES, "RANK": "0", "TORCHELASTIC_USE_AGENT_STORE": "True"})  # torchrun's does
    assert World.from_environment() == World(0, 5, "node7", 4711, hosts_store=False)


@pytest.mark.parametrize("missing", VARIABLES)
def test_no_launcher(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    set_variables(monkeypatch, **{name: value for name, value in VARIABLES.items() if name != missing})
    assert World.from_environment() is None


def test_rank_0_holds_the_store_where_no_launcher_does(world: World) -> None:
    free = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port = free.port
    del free
    host = World(0, 2, "127.0.0.1", port, hosts_store=True)
    server = host.connect()
    host.connect(own=False).set("key", "value")  # one more client, for another thread
    assert server.get("key") == b"value" == World(1, 2, "127.0.0.1", port).connect().get("key")
