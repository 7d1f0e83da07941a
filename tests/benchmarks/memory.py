"""How many copies of its parameters a walker process of a real run holds, besides the rows and their gradient."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

NEVER = 10**9
LAYERS = (784, 2900, 2900, 10)
P = sum(out * (into + 1) for into, out in itertools.pairwise(LAYERS))
CONFIG = {
    "name": "memory",
    "landscape": {
        "kind": "network",
        "data": {"name": "made_up:load", "args": {"train_size": 32, "test_size": 16}},
        "model": {"name": "mlp", "hidden": list(LAYERS[1:-1])},
    },
    "walkers": 2,
    "walkers_per_process": 1,
    "analysts": 0,
    "steps": 36,
    "dynamics": {"name": "sgd", "lr": 0.01, "momentum": 0.5, "batch_size": 16},
    "coupling": {"name": "easgd", "period": 2},
    "log": {"every": 5},
    "probes": {"distances": {"every": 7}},
    "snapshots": {"every": 8},
    "checkpoint": {"every": 11},
    "control": {"every": NEVER},
}


def copies() -> Iterator[str]:
    """Copies of its parameters in a walker process, besides rows and gradient (at most 5, 6 while it writes)."""
    import torch.distributed as dist

    from walkers_dist.config import text

    processes = multiprocessing.get_context("spawn")
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with tempfile.TemporaryDirectory() as folder, processes.Pool(3) as pool:
        file = Path(folder, "memory.yaml")
        file.write_text(text.write(CONFIG), encoding="utf-8")
        _, *walkers = pool.starmap(play_rank, [(rank, store.port, str(file), f"{folder}/run") for rank in range(3)], 1)
    yield f"{P:,} parameters, easgd, two processes, the peak of:"
    for part in walkers[0]:
        yield f"{part:<28} {max(peaks[part] for peaks in walkers):5.2f} copies"


def play_rank(rank: int, port: int, file: str, run_dir: str) -> dict[str, float]:
    """Be a rank of the run, the memory of a walker process being measured; returns part -> most copies."""
    import torch

    from walkers_dist.distributed.start import World
    from walkers_dist.roles import rank as ranks
    from walkers_dist.roles.request import Request

    meter: Meter | None = None
    build, walk = ranks.build, ranks.walk

    def build_and_begin(*arguments: Any, **keywords: Any) -> Any:
        nonlocal meter
        torch.ones(2048, 2048) @ torch.ones(2048, 16)  # what the first product allocates is no copy
        meter = Meter()
        return build(*arguments, **keywords)

    def metered_walk(course: Any, roles: Sequence[Any], begin: int) -> int:
        if meter is None:
            return walk(course, roles, begin)
        meter.walkers = roles[0]
        meter.note("start")
        return walk(course, [*roles, meter], begin)

    request = Request(file, run_dir=run_dir, report=False)
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        mock.patch.object(ranks, "build", build_and_begin),
        mock.patch.object(ranks, "walk", metered_walk),
    ):
        code = ranks.run_rank(World(rank, 3, "127.0.0.1", port), request, time.time())
    if code:
        raise RuntimeError(f"rank {rank} left with exit code {code}")
    return meter.copies if meter else {}


class Meter:
    """A role that notes the peak of private memory: of each report with the step after it, and of the other steps."""

    def __init__(self) -> None:
        self.copies: dict[str, float] = {}
        self.before, _ = resident()
        self.part = "steps"

    def report(self, t: int, due: Any) -> None:
        names = [name for name in ("rows", "distances", "snapshot", "checkpoint") if getattr(due, name)]
        self.part = " + ".join(names)

    def step(self, t: int) -> None:
        self.walkers._writer.drain()
        self.note(self.part)
        self.part = "steps"

    def note(self, part: str) -> None:
        _, peak = resident()
        X_and_gradient = 2
        copies = (peak - self.before) / (4 * P) - X_and_gradient
        self.copies[part] = max(copies, self.copies.get(part, 0.0))
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew

    def changed(self, changes: object) -> None: ...
    def hear(self) -> None: ...
    def close(self) -> None: ...


def resident() -> tuple[int, int]:
    """Bytes of private memory in use now, and at its peak."""
    kB = {key: int(value) for key, value in re.findall(r"(\w+):\s+(\d+) kB", Path("/proc/self/status").read_text())}
    return 1024 * kB["RssAnon"], 1024 * (kB["VmHWM"] - kB["RssFile"] - kB["RssShmem"])
