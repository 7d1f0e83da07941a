"""How sums and centers travel: over real gloo, between processes, and between threads that share nothing but it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from walkers_dist.distributed.exchange import CollectiveExchange, GroupLink, LocalExchange, LocalLink
from walkers_dist.distributed.groups import make_group

Together = Callable[..., list[Any]]
Groups = Callable[..., list[Any]]
LARGE = 1 << 20  # numbers: far more than the sockets hold


def part_of(place: int, size: int, dtype: torch.dtype, round_: int = 0) -> Tensor:
    """Numbers whose sum depends on the order in which they are added."""
    generator = torch.Generator().manual_seed(1000 * round_ + place)
    return (torch.randn(size, generator=generator) * 10.0 ** torch.randint(-6, 6, (size,), generator=generator)).to(
        dtype
    )


@pytest.mark.parametrize("places", [2, 3])
def test_sums_are_bitwise_equal_in_every_process(tmp_path: Path, processes: Any, places: int) -> None:
    sizes = [(1, torch.float64), (1003, torch.float32), (1003, torch.float64), (89_610, torch.float32)]
    pipes = [get_context("fork").Pipe(duplex=False) for _ in range(places)]

    def walker_process(place: int) -> None:
        torch.set_num_threads(1)
        store = dist.FileStore(str(tmp_path / "store"), places)
        force = make_group(store, "force", range(places), place, backend="gloo", address="127.0.0.1")
        exchange, got = CollectiveExchange(force, place, places), []
        for round_ in range(5):
            for size, dtype in sizes:
                flat = part_of(place, size, dtype, round_)
                exchange.start(flat)
                exchange.finish()
                got.append(flat.numpy().tobytes())
        pipes[place][1].send(got)

    for place in range(places):
        processes(lambda place=place: walker_process(place))
    results = []
    for reading, _ in pipes:
        assert reading.poll(30), "a process did not answer"
        results.append(reading.recv())
    assert all(result == results[0] for result in results)
    for i, raw in enumerate(results[0]):
        size, dtype = sizes[i % len(sizes)]
        flat = torch.frombuffer(bytearray(raw), dtype=dtype)
        parts = torch.stack([part_of(place, size, dtype, i // len(sizes)) for place in range(places)]).double()
        error = (flat.double() - parts.sum(0)).abs()
        assert (error <= places * torch.finfo(dtype).eps * parts.abs().sum(0)).all()


def test_an_exchange_may_begin_before_the_others_are_there(groups: Groups, together: Together) -> None:
    """The message goes out before the gradient: starting waits for nobody."""
    exchanges = [CollectiveExchange(group, place, 2) for place, group in enumerate(groups(2))]
    flats = [torch.full((LARGE,), float(place + 1)) for place in range(2)]
    for exchange, flat in zip(exchanges, flats, strict=True):  # one after the other, in this one thread
        exchange.start(flat)
    together(*(exchange.finish for exchange in exchanges))
    assert all(flat.eq(3).all() for flat in flats)
    assert [(exchange.place, exchange.places) for exchange in exchanges] == [(0, 2), (1, 2)]


def test_in_one_process_the_sums_are_complete() -> None:
    exchange, flat = LocalExchange(), torch.arange(4.0)
    exchange.start(flat)
    exchange.finish()
    assert flat.tolist() == [0, 1, 2, 3] and (exchange.place, exchange.places) == (0, 1)


# ---- the center's way to the coordinator --------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "centers"), [(3, 200), (LARGE, 8)])
def test_every_center_arrives_in_order(groups: Groups, together: Together, size: int, centers: int) -> None:
    """The walkers are as fast as they can, the coordinator is slow; the buffer changes as soon as that is allowed."""
    coordinator, walkers = (GroupLink(group) for group in groups(2, "link"))

    def send() -> None:
        c = torch.zeros(size)
        for t in range(centers):
            walkers.settle()
            c.fill_(t)
            walkers.send(c)
        walkers.settle()

    def receive() -> list[tuple[float, float]]:
        c, got = torch.full((size,), -1.0), []
        for _ in range(centers):
            time.sleep(0.001)
            coordinator.receive(c)
            got.append((c.min().item(), c.max().item()))
        return got

    _, got = together(send, receive)
    assert got == [(t, t) for t in range(centers)]


def test_sending_goes_on_in_the_background(groups: Groups, together: Together) -> None:
    coordinator, walkers = (GroupLink(group) for group in groups(2, "link"))
    c, settled, received = torch.full((LARGE,), 7.0), threading.Event(), torch.zeros(LARGE)
    walkers.send(c)  # returns, although nobody receives

    def settle() -> None:
        walkers.settle()
        settled.set()

    def receive() -> bool:
        waits = not settled.wait(0.3)  # the center is still on its way: it may not be changed yet
        coordinator.receive(received)
        return waits

    assert together(settle, receive)[1]
    assert settled.is_set() and received.eq(7).all()


def test_in_one_process_the_center_is_copied() -> None:
    link, c, mine = LocalLink(), torch.ones(3), torch.zeros(3)
    link.send(c)
    link.settle()
    link.receive(mine)
    c.zero_()
    assert mine.tolist() == [1, 1, 1]


# ---- groups ---------------------------------------------------------------------------------------------------------


def test_members_have_the_place_they_are_listed_at(together: Together) -> None:
    """Place 0 is the coordinator's in `link`, whatever the ranks are; who is no member, or alone, has no group."""
    store = dist.HashStore()

    def rank(me: int) -> list[Any]:
        def group(name: str, members: list[int]) -> Any:
            return make_group(store, name, members, me, backend="gloo", address="127.0.0.1")

        link, force, alone = group("link", [0, 2]), group("force", [4, 2]), group("alone", [me])
        return [made and (made.rank(), made.size()) for made in (link, force, alone)]

    assert together(*((lambda me=me: rank(me)) for me in (0, 2, 4))) == [
        [(0, 2), None, None],
        [(1, 2), (1, 2), None],
        [None, (0, 2), None],
    ]
