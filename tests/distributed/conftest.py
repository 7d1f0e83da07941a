"""A real store, ranks as threads where they share a group, and as processes where one is stopped or killed."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import timedelta
from multiprocessing.process import BaseProcess
from typing import Any

import pytest
import torch.distributed as dist

from walkers_dist.distributed.groups import make_group
from walkers_dist.distributed.plan import Entry
from walkers_dist.distributed.start import World

PATIENCE = 120.0  # s, on a machine that is busy with other things


@pytest.fixture
def world() -> Iterator[World]:
    """The store of a launcher: `world.connect()` is one more client of it."""
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=PATIENCE))
    yield World(0, 1, "127.0.0.1", server.port)
    del server


@pytest.fixture
def together() -> Callable[..., list[Any]]:
    """Call functions at the same time, one thread each; their results in order, or the first of their errors."""

    def call(*functions: Callable[[], Any]) -> list[Any]:
        answers = [Future[Any]() for _ in functions]

        def play(function: Callable[[], Any], answer: Future[Any]) -> None:
            try:
                answer.set_result(function())
            except BaseException as error:
                answer.set_exception(error)

        for function, answer in zip(functions, answers, strict=True):  # a thread that hangs must not hang the tests
            threading.Thread(target=play, args=(function, answer), daemon=True).start()
        done, _ = concurrent.futures.wait(answers, PATIENCE, concurrent.futures.FIRST_EXCEPTION)
        failed = [answer for answer in answers if answer in done and answer.exception()]
        return [answer.result(0) for answer in (*failed, *answers)]

    return call


@pytest.fixture
def groups(together: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """The same gloo group as seen by each of `n` members, all in this process."""

    def make(n: int, name: str = "group") -> list[Any]:
        store = dist.HashStore()

        def member(i: int) -> Any:
            return make_group(store, name, range(n), i, backend="gloo", address="127.0.0.1")

        return together(*((lambda i=i: member(i)) for i in range(n)))

    return make


@pytest.fixture
def processes() -> Iterator[Callable[[Callable[[], Any]], BaseProcess]]:
    """Start a function in a process of its own, forked from this one; killed at the end of the test."""
    context, started = multiprocessing.get_context("fork"), []

    def start(function: Callable[[], Any]) -> BaseProcess:
        process = context.Process(target=function, daemon=True)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.join()


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait until something is true."""

    def wait(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.01)

    return wait


@pytest.fixture
def entry() -> Callable[..., Entry]:
    def make(nonce: str, host: str = socket.gethostname(), gpus: Sequence[str] = ()) -> Entry:
        return Entry(host, tuple(gpus), nonce)

    return make
