"""Measures speed and memory and prints ratios: python tests/benchmarks/run.py [NAME …]; figures are in RESULTS.md.

Both sides of a ratio take turns, block by block, in one run and with one thread, so that it means something on a busy
machine too: printed are the median of the blocks' ratios and [their quartiles].
"""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import analysis
import commands
import control
import curvature
import density
import exchange
import extremes
import lenet
import memory
import probes
import shared
import spectrum
import steps
import torch

BENCHMARKS: dict[str, Callable[[], Iterator[str]]] = {
    "one": steps.one_walker,
    "sixteen": steps.sixteen_walkers,
    "exchange": exchange.exchange,
    "curvature": curvature.products,
    "probes": probes.pictures,
    "spectrum": spectrum.spectrum,
    "extremes": extremes.extremes,
    "lenet": lenet.lenet,
    "density": density.density,
    "shared": shared.shared,
    "control": control.control,
    "commands": commands.help_and_mistake,
    "quickstart": commands.quickstart,
    "memory": memory.copies,
    "analysis": analysis.free_analysis,
}


def main(names: list[str]) -> None:
    if unknown := set(names) - BENCHMARKS.keys():
        sys.exit(f"{', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, torch {torch.__version__}, {os.cpu_count()} cores", end=", ")
    print(f"load {os.getloadavg()[0]:.1f}")
    for name in names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        print(f"\n{name}: {inspect.getdoc(benchmark)}")
        for line in benchmark():
            print(f"  {line}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
