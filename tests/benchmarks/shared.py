"""One matrix multiplied by one rank and by two: the seconds of CPU that each of them works."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from walkers_dist import curvature
from walkers_dist.config.load import parse
from walkers_dist.curvature import Operator
from walkers_dist.curvature.full import matrix as whole_matrix
from walkers_dist.curvature.operators import Share
from walkers_dist.curvature.shared import Make
from walkers_dist.distributed import devices
from walkers_dist.distributed.analysis import together
from walkers_dist.landscape import build

NETS = {
    "digits": {"data": {"name": "digits", "train_size": 1000}, "model": {"name": "mlp", "hidden": [30, 30]}},
    "default": {"data": {"name": "made_up:load"}, "model": {"name": "mlp", "hidden": [100, 100]}},
}
PAIRS = 3
Work = Callable[[Callable[[str], Operator]], Any]


def shared() -> Iterator[str]:
    """CPU seconds of 1 rank against those of each of 2: rows of 3,190 parameters, both ends of 89,610, float64."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    _, _, started = _cost(2, lambda matrix: matrix("digits"))
    for what, work in WORKS.items():
        for _ in range(PAIRS):
            alone, wall, _ = _cost(1, work)
            mine, together_wall, other = _cost(2, work)
            yield (
                f"{what}: one rank {alone:.2f} s; of two, rank 0 {mine:.2f} s and rank 1 {max(0, other - started):.2f} "
                f"s: {alone / max(mine, other - started):.2f} times faster with a core for each "
                f"(here {wall:.1f} s and {together_wall:.1f} s on the clock)"
            )


WORKS: dict[str, Work] = {
    "rows of the matrix": lambda matrix: whole_matrix(matrix("digits")),
    "ten largest and five smallest": lambda matrix: curvature.extremes(matrix("default"), 10, 5),
    "density, 10 probes, 50 steps": lambda matrix: curvature.density(matrix("digits"), 10, 50),
}


def _cost(ranks: int, work: Work) -> tuple[float, float, float]:
    """Seconds of CPU of rank 0, of the clock, and of CPU of the children with their start."""

    def timed(matrix: Callable[[str], Operator]) -> tuple[float, float]:
        H = matrix("digits")
        H(torch.ones(1, H.size, dtype=H.dtype))  # the others have come
        wall, cpu = time.perf_counter(), time.process_time()
        work(matrix)
        return time.process_time() - cpu, time.perf_counter() - wall

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = together(ranks, "shared:make", {}, timed)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert found is not None
    children = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return *found, children


def make(rank: int) -> Make:
    devices.set_up_process(threads=1)
    return matrix


def matrix(name: str, share: Share) -> Operator:
    """The Hessian at a start, by products alone."""
    landscape = build(parse({"landscape": NETS[name]}, name).landscape, seed=0, dtype=torch.float64)
    return replace(curvature.hessian(landscape, landscape.start("w0"), share=share), dense=None)
