"""Time-outs bound silence, not slowness: processes that are stopped, busy, waiting, asleep with the whole machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import torch.distributed as dist

from walkers_dist.distributed.heartbeat import Heartbeat
from walkers_dist.distributed.start import World

SILENCE = 1.2  # s
Until = Callable[..., None]


class Told:
    """Who was said to be silent, for how long, and when that was said."""

    def __init__(self) -> None:
        self.of: list[tuple[str, float]] = []
        self.at = 0.0

    def __call__(self, name: str, seconds: float) -> None:
        self.at = time.monotonic()
        self.of.append((name, seconds))


Watch = Callable[..., Told]


@pytest.fixture
def watch(world: World) -> Iterator[Watch]:
    """Watch others as the coordinator; stopped at the end."""
    hearts: list[Heartbeat] = []

    def start(*others: str, silence: float = SILENCE) -> Told:
        told = Told()
        hearts.append(Heartbeat(world.connect, "coordinator", others, silence, told))
        return told

    yield start
    for heart in hearts:
        heart.stop()


def beat_only(world: World, name: str, meanwhile: Callable[[], object]) -> Callable[[], None]:
    def process() -> None:
        Heartbeat(world.connect, name, ["coordinator"], 60.0, lambda *_: os._exit(3))
        meanwhile()

    return process


def beats(store: dist.Store, name: str) -> int:
    key = f"beat-{name}"
    return int(store.get(key)) if store.check([key]) else 0


def spin() -> None:
    while True:  # slow: never hands the interpreter over by itself
        sum(range(1000))


def test_a_stopped_process_is_named_and_a_slow_one_is_not(
    world: World, processes: Any, watch: Watch, until: Until
) -> None:
    slow = processes(beat_only(world, "walkers 0-3", spin))
    stopped = processes(beat_only(world, "walkers 4-7", threading.Event().wait))
    store = world.connect()
    until(lambda: beats(store, "walkers 0-3") and beats(store, "walkers 4-7"), "first beats")
    told = watch("walkers 0-3", "walkers 4-7")
    time.sleep(1.5 * SILENCE)
    assert told.of == [] and slow.is_alive()
    os.kill(stopped.pid, signal.SIGSTOP)
    since = time.monotonic()
    until(lambda: told.of, "the silence is noticed")
    assert [name for name, _ in told.of] == ["walkers 4-7"]
    assert told.of[0][1] > SILENCE and told.at - since > SILENCE / 2  # its last beat was before the stop


def test_a_process_that_never_appears_is_named(world: World, watch: Watch, until: Until) -> None:
    since = time.monotonic()
    told = watch("walkers 2", silence=0.4)
    until(lambda: told.of, "the silence is noticed")
    assert told.of[0][0] == "walkers 2" and told.at - since >= 0.4
    time.sleep(0.5)
    assert len(told.of) == 1  # said once


def test_the_coordinator_is_watched_too(world: World, processes: Any, until: Until) -> None:
    """With its own beat gone, a walker process ends by what it was told to do then."""

    def walker() -> None:
        Heartbeat(world.connect, "walkers 0", ["coordinator"], 0.5, lambda name, _: os._exit(7))
        threading.Event().wait()

    process = processes(walker)
    process.join(30)
    assert process.exitcode == 7


def test_after_a_sleep_of_the_whole_machine_everybody_gets_a_new_chance(
    world: World, processes: Any, until: Until
) -> None:
    """A laptop was closed: the one that wakes first must not take the others for dead."""

    def watcher() -> None:
        Heartbeat(world.connect, "coordinator", ["walkers 0"], SILENCE, lambda *_: os._exit(7))
        threading.Event().wait()

    first = processes(watcher)
    second = processes(beat_only(world, "walkers 0", threading.Event().wait))
    store = world.connect()
    until(lambda: beats(store, "walkers 0") and beats(store, "coordinator") > 1, "first beats")
    os.kill(second.pid, signal.SIGSTOP)
    before = beats(store, "coordinator")
    until(lambda: beats(store, "coordinator") > before, "it has seen the last beat there was")
    os.kill(first.pid, signal.SIGSTOP)
    time.sleep(1.3 * SILENCE)
    os.kill(first.pid, signal.SIGCONT)
    before = beats(store, "coordinator")
    until(lambda: beats(store, "coordinator") > before + 1 or not first.is_alive(), "it has woken and looked")
    assert first.is_alive()
    os.kill(second.pid, signal.SIGCONT)
    time.sleep(1.3 * SILENCE)
    assert first.is_alive()
    os.kill(second.pid, signal.SIGSTOP)  # and yet it still notices
    first.join(30)
    assert first.exitcode == 7


def test_it_stops(world: World) -> None:
    told = Told()
    heart = Heartbeat(world.connect, "coordinator", ["walkers 0"], 5.0, told)
    heart.stop()
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate()) and told.of == []


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_without_the_store_nobody_is_accused(until: Until) -> None:
    """The store goes with the launcher, and then the leash ends this process."""
    servers = [dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)]
    told, port, short = Told(), servers[0].port, timedelta(seconds=2)
    heart = Heartbeat(
        lambda: dist.TCPStore("127.0.0.1", port, wait_for_workers=False, timeout=short),
        "coordinator", ["walkers 0"], 0.8, told,
    )  # fmt: skip
    until(lambda: servers[0].check(["beat-coordinator"]), "the first beat")
    servers.clear()
    until(lambda: not heart._thread.is_alive(), "it gives up")
    assert told.of == []
