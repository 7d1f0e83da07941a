"""One exchange between two walker processes, and its center's way to the coordinator, against a bare `all_reduce`."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
from blocks import Blocks
from torch import Tensor

from walkers_dist.config.kinds import Sums
from walkers_dist.distributed.exchange import CollectiveExchange, GroupLink
from walkers_dist.distributed.groups import make_group

P = 89_610  # parameters of 784-100-100-10
BLOCKS = 60
EXCHANGES = 30  # in a block
COORDINATOR, FIRST, SECOND = RANKS = range(3)


def exchange() -> Iterator[str]:
    """An exchange of two walker processes over gloo, center's link included / a bare all_reduce (at most 0.9)."""
    processes = multiprocessing.get_context("spawn")
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with processes.Pool(len(RANKS)) as pool:
        seconds, *_ = pool.starmap(play_rank, [(rank, store.port) for rank in RANKS], 1)
    ours, bare = seconds["ours, with link"], seconds["all_reduce of three"]
    yield f"{P:,} float32, with link / all_reduce of walkers and coordinator: {Blocks(ours, bare)}"
    for way in ("with link", "without link"):
        blocks = Blocks(seconds[f"ours, {way}"], seconds["all_reduce of two"])
        yield f"{way} / all_reduce of the two walkers: {blocks}"


def play_rank(rank: int, port: int) -> dict[str, list[float]]:
    """Name of each way -> seconds of the slowest rank in each block, the ways taking turns."""
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, wait_for_workers=False)
    dist.init_process_group("gloo", store=dist.PrefixStore("bare", store), rank=rank, world_size=len(RANKS))
    two = dist.new_group([FIRST, SECOND])
    ours = _Ours(rank, store)
    flat = torch.randn(P)
    ways: dict[str, Callable[[], object]] = {
        "ours, with link": ours.with_link,
        "all_reduce of three": lambda: dist.all_reduce(flat),
        "ours, without link": ours.without_link,
        "all_reduce of two": lambda: dist.all_reduce(flat, group=two) if rank in (FIRST, SECOND) else None,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for block in range(BLOCKS + 1):
        for name, way in ways.items():
            slowest = _slowest(way)
            if block:  # the first warms up
                seconds[name].append(slowest)
            flat.fill_(1.0)  # sums of sums would overflow
    dist.destroy_process_group()
    return seconds


def _slowest(way: Callable[[], object]) -> float:
    dist.barrier()
    began = time.perf_counter()
    for _ in range(EXCHANGES):
        way()
    seconds = torch.tensor(time.perf_counter() - began, dtype=torch.float64)
    dist.all_reduce(seconds, dist.ReduceOp.MAX)
    return float(seconds)


class _Ours:
    """What a rank of a run does at an exchange, but for the formulas."""

    def __init__(self, rank: int, store: dist.Store) -> None:
        self.rank = rank
        walkers = [FIRST, SECOND]
        force = make_group(store, "force", walkers, rank, backend="gloo", address="127.0.0.1")
        link = make_group(store, "link", [COORDINATOR, FIRST], rank, backend="gloo", address="127.0.0.1")
        self.link = GroupLink(link) if link else None
        self.force = CollectiveExchange(force, walkers.index(rank), 2) if force else None
        self.c: Tensor = torch.zeros(P)
        self.sums = Sums.zeros(self.c, ())

    def without_link(self) -> None:
        if self.force:
            self.force.start(self.sums.flat)
            self.force.finish()

    def with_link(self) -> None:
        self.without_link()
        if self.rank == COORDINATOR:
            self.link.receive(self.c)
        elif self.link:
            self.link.settle()
            self.link.send(self.c)
