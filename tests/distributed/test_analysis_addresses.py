"""Ranks of an analysis on two hosts, of which the first knows its own name by loopback alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch.distributed as dist

from walkers_dist.distributed import analysis, devices
from walkers_dist.distributed.start import World

ROUTES = {"127.0.1.1": "127.0.0.1", "head": "10.0.0.2", "10.0.0.2": "10.0.0.1"}
"""From an address to this machine's own on the interface that routes to it; what `head` means differs by host."""


def test_no_rank_is_reached_by_loopback(monkeypatch) -> None:
    """Bound to it, a rank cannot be reached from the other host; that with the greater address calls the other."""
    monkeypatch.setattr(devices, "_own_address", ROUTES.__getitem__)
    bound = {}
    monkeypatch.setattr(
        analysis, "make_group", lambda *words, **keywords: bound.setdefault(words[3], keywords["address"])
    )
    store = dist.HashStore()
    worlds = [World(0, 2, "127.0.1.1", 1), World(1, 2, "head", 1)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda world: analysis._gathered(world, store), worlds))
    assert bound == {0: "10.0.0.1", 1: "10.0.0.2"}
