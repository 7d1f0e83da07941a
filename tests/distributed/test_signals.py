"""Signals become a note, read by a thread, also while the main thread sits in a collective."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest

from walkers_dist.distributed.signals import held, stop_signals
from walkers_dist.distributed.start import World

Until = Callable[..., None]


def handlers() -> list[object]:
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    return [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), wakeup]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_noted_and_counted(until: Until, number: signal.Signals) -> None:
    with stop_signals() as received:
        assert (received.name, received.count) == (None, 0)
        for times in (1, 2):
            os.kill(os.getpid(), number)
            until(lambda times=times: received.count == times, "the signal is noted")
        assert received.name == number.name


def test_only_a_second_one_from_a_terminal_is_impatient(until: Until) -> None:
    """SLURM warns, and ends the job by SIGTERM later: the first of them is still being obeyed."""
    with stop_signals() as received:
        for times, number in enumerate((signal.SIGUSR1, signal.SIGTERM, signal.SIGINT), 1):
            os.kill(os.getpid(), number)
            until(lambda times=times: received.count == times, "the signal is noted")
            assert (received.name, received.number) == ("SIGUSR1", signal.SIGUSR1)
            assert received.at_once == (number == signal.SIGINT)


def test_one_that_was_held_is_noted_later(until: Until) -> None:
    with held():
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)  # would end this process
        with stop_signals() as received:
            until(lambda: received.name == "SIGUSR1", "the signal is noted")
        assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_noted_while_the_main_thread_waits_for_others(world: World) -> None:
    """It is in code that is not Python, which runs no handlers."""
    store, returned, seen = world.connect(), threading.Event(), []

    def interrupt() -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 1.5
        while received.name is None and time.monotonic() < deadline:
            time.sleep(0.01)
        seen.append((received.name, returned.is_set()))

    with stop_signals() as received:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with suppress(RuntimeError):
            store.wait(["what nobody ever sets"], timedelta(seconds=2))
        returned.set()
        thread.join()
    assert seen == [("SIGTERM", False)]


def test_everything_is_as_before_afterwards() -> None:
    before = handlers()
    with stop_signals():
        assert handlers() != before
    assert handlers() == before
    with suppress(ZeroDivisionError), stop_signals():
        1 / 0  # noqa: B018
    assert handlers() == before
    assert not any(thread.name == "signals" for thread in threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_other_signals_are_nobodys_business(until: Until) -> None:
    got = []
    before = signal.signal(signal.SIGUSR2, lambda *_: got.append(1))
    try:
        with stop_signals() as received:
            os.kill(os.getpid(), signal.SIGUSR2)
            until(lambda: got, "the handler ran")
            os.kill(os.getpid(), signal.SIGINT)
            until(lambda: received.count == 1, "the signal is noted")
            assert received.name == "SIGINT"
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_one_inside_the_other(until: Until) -> None:
    with stop_signals() as outer:
        with stop_signals() as inner:
            os.kill(os.getpid(), signal.SIGINT)
            until(lambda: inner.name, "the inner one hears it")
        assert outer.name is None
        os.kill(os.getpid(), signal.SIGTERM)
        until(lambda: outer.name == "SIGTERM", "the outer one hears the next")


def test_in_another_thread_it_does_nothing() -> None:
    before, seen = handlers(), []

    def elsewhere() -> None:
        with stop_signals() as received:
            seen.append((received.name, handlers_of_main()))

    def handlers_of_main() -> list[object]:
        return [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [(None, before[:2])]
