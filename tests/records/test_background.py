"""Jobs end in the order they came, their results wait to be asked for, and an error reaches the caller."""

from __future__ import annotations

import threading
import time

import pytest

from walkers_dist.records.background import BackgroundWriter


def test_results_come_in_order_and_once():
    writer = BackgroundWriter()
    for number in range(50):
        writer.submit(lambda number=number: (time.sleep(0.001 if number % 7 == 0 else 0), number)[1])
    seen = writer.finished()
    writer.drain()
    seen += writer.finished()
    assert seen == list(range(50))
    assert writer.finished() == []
    writer.close()


def test_the_caller_does_not_wait_and_drain_does():
    writer, gate = BackgroundWriter(), threading.Event()
    writer.submit(lambda: gate.wait(30))
    assert writer.finished() == []
    threading.Timer(0.1, gate.set).start()
    writer.drain()
    assert gate.is_set() and writer.finished() == [True]
    writer.close()


def test_one_thread_does_it_all_and_ends():
    writer = BackgroundWriter()
    for _ in range(5):
        writer.submit(threading.current_thread)
    writer.drain()
    (thread,) = set(writer.finished())
    assert thread is not threading.current_thread() and thread.is_alive()
    writer.close()
    assert not thread.is_alive()


def test_the_first_error_stops_the_rest_and_comes_out_of_the_next_call():
    done = []

    def fail():
        raise OSError("disk full")

    writer = BackgroundWriter()
    writer.submit(lambda: done.append("before"))
    writer.submit(fail)
    writer.submit(lambda: done.append("after"))
    for call in (writer.drain, writer.finished, lambda: writer.submit(fail), writer.close):
        with pytest.raises(OSError, match="disk full"):
            call()
    assert done == ["before"]
