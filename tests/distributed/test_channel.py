"""The report and its answer: everything arrives as it was, in the order of the rows, however long it is."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from walkers_dist.config.errors import PeerLost
from walkers_dist.distributed.channel import FRAME, GroupChannel, LocalChannel, Note, _decode, _encode
from walkers_dist.distributed.groups import make_group

Together = Callable[..., list[Any]]
Groups = Callable[..., list[Any]]
LARGE = 1 << 20  # numbers: far more than the sockets hold

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_a_message_is_what_was_sent(note: Note) -> None:
    tensors = {
        "finite": torch.tensor([True, False]),
        "rows": torch.tensor([[1.5, math.inf, 5e-324]], dtype=torch.float64),
        "X": torch.arange(6.0).view(2, 3).T,  # not contiguous
        "empty": torch.zeros(0, 3),
    }
    got, told = _decode(_encode(tensors, note))
    assert told == note and list(sorted(got)) == list(sorted(tensors))
    assert all(torch.equal(got[key], v) and got[key].dtype == v.dtype for key, v in tensors.items())


def test_a_message_may_be_a_note_alone() -> None:
    assert _decode(_encode({}, {"written": []})) == ({}, {"written": []})


def channels(groups: Groups, places: int) -> list[GroupChannel]:
    return [GroupChannel(group, places) for group in groups(places, "core")]


def test_reports_come_in_the_order_of_the_rows(groups: Groups, together: Together) -> None:
    """Also where the last one reports first, and where a report is large."""
    coordinator, *walkers = channels(groups, 4)
    first_is_late = threading.Event()

    def report(i: int) -> None:
        if i == 0:
            first_is_late.wait(0.2)
        for t in range(3):
            walkers[i].send({"X": torch.full((i + 1, 100_000), float(10 * t + i))}, {"t": t, "i": i})
        walkers[i].settle()

    def receive() -> list[list[tuple[Any, ...]]]:
        reports = [coordinator.receive() for _ in range(3)]
        return [[(x["X"].shape[0], x["X"].mean().item(), note["t"], note["i"]) for x, note in r] for r in reports]

    got = together(receive, *((lambda i=i: report(i)) for i in range(3)))[0]
    assert got == [[(i + 1, 10 * t + i, t, i) for i in range(3)] for t in range(3)]


@pytest.mark.parametrize("length", [0, 1, FRAME - 9, FRAME - 8, FRAME - 7, FRAME, 2 * FRAME, 300_000])
def test_answers_of_any_length(groups: Groups, together: Together, length: int) -> None:
    """The first frame holds FRAME - 8 bytes of the answer; what is longer needs a second one."""
    coordinator, *walkers = channels(groups, 3)
    shortest = len(json.dumps({"text": ""}))
    answers: list[Note] = [{"text": "x" * max(0, length - shortest)}, {"last": None}, {"text": "größer, 大きい"}]
    assert len(json.dumps(answers[0])) == max(length, shortest)

    def hear(walker: GroupChannel) -> list[Note]:
        return [walker.hear() for _ in answers]

    _, *heard = together(
        lambda: [coordinator.answer(note) for note in answers], *((lambda w=w: hear(w)) for w in walkers)
    )
    assert heard == [answers, answers]


def test_a_report_is_answered_before_it_is_received(groups: Groups, together: Together) -> None:
    """What is said at report t was decided at the one before, so that walkers go on while the coordinator works."""
    coordinator, walker = channels(groups, 2)
    went_on = [threading.Event() for _ in range(3)]

    def walk() -> None:
        for t, event in enumerate(went_on):
            walker.send({"rows": torch.zeros(LARGE)}, {"t": t})
            assert walker.hear() == {"answer": t}
            event.set()
        walker.settle()

    def coordinate() -> list[int]:
        got = []
        for t, event in enumerate(went_on):
            coordinator.answer({"answer": t})
            assert event.wait(10), "the walker waits for its report to be received"
            got += [note["t"] for _, note in coordinator.receive()]
        return got

    assert together(coordinate, walk)[0] == [0, 1, 2]


@pytest.mark.parametrize("waiting_for", ["answer", "report"])
def test_a_lost_peer_is_told_from_other_errors(
    tmp_path: Path, processes: Any, together: Together, waiting_for: str
) -> None:
    """A killed process is seen by the sockets of its peers, at once, and at every use of the group after that."""
    me = 1 if waiting_for == "answer" else 0

    def member(place: int) -> GroupChannel:
        store = dist.FileStore(str(tmp_path / "store"), 2)
        group = make_group(store, "core", range(2), place, backend="gloo", address="127.0.0.1")
        store.set(f"{place} is ready", "")
        store.wait(["0 is ready", "1 is ready"])
        return GroupChannel(group, 2)

    def peer() -> None:
        member(1 - me)
        threading.Event().wait()

    other = processes(peer)
    mine = member(me)
    other.kill()
    for _ in range(2):
        with pytest.raises(PeerLost):
            together(mine.hear if waiting_for == "answer" else mine.receive)
    with pytest.raises(PeerLost):
        if waiting_for == "answer":
            mine.send({}, {"t": 1})
            mine.settle()
        else:
            mine.answer({"last": None})


def test_in_one_process() -> None:
    channel, sent = LocalChannel(), {"rows": torch.ones(2)}
    for t in range(2):
        channel.send(sent, {"t": t})
    channel.settle()
    received: list[tuple[dict[str, Tensor], Note]] = [channel.receive()[0] for _ in range(2)]
    assert [note["t"] for _, note in received] == [0, 1] and received[0][0] is sent
    channel.answer({"last": 3})
    channel.answer({"last": None})
    assert [channel.hear(), channel.hear()] == [{"last": 3}, {"last": None}]
