"""Steps of the real loop, `walkers run --in-process`, against the loop a person writes, interleaved block by block."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

from bare import BareLoop
from blocks import Blocks

from walkers_dist.config import text
from walkers_dist.config.course import Change, Course, Due
from walkers_dist.landscape.network import Network
from walkers_dist.roles import in_process
from walkers_dist.roles.loop import Role, walk
from walkers_dist.roles.request import Request
from walkers_dist.roles.walkers import Walkers

NEVER = 10**9
BLOCKS = 40
SETTINGS = {"lr": 0.05, "momentum": 0.5, "batch_size": 100}
LANDSCAPES: dict[str, dict[str, object]] = {
    "digits 64-30-30-10": {"kind": "network"},
    "784-100-100-10": {
        "kind": "network",
        "data": {"name": "made_up:load"},
        "model": {"name": "mlp", "hidden": [100, 100]},
    },
}
COUPLINGS: dict[str, dict[str, object]] = {"none": {"name": "none"}, "easgd": {"name": "easgd", "period": 4}}


def one_walker() -> Iterator[str]:
    """One walker in one process / the bare loop (without rows at most 1.0, with the same rows at most 1.05)."""
    for landscape in LANDSCAPES:
        silent = Comparison(landscape, steps=100)
        yield f"{landscape}, no rows: {silent.bare}"
        rows = Comparison(landscape, steps=50, rows_every=10)
        yield f"{landscape}, rows every 10 steps: {rows.measured}; / the loop without rows {rows.bare}"


def sixteen_walkers() -> Iterator[str]:
    """16 turns of the bare loop / 16 walkers in one process (digits at least 3, the other at least 1.3).

    A turn is as long as walkers stay apart under `easgd`; in longer ones a bare loop has its network in the cache.
    """
    for landscape in LANDSCAPES:
        for coupling in COUPLINGS:
            for steps in (4, 20):
                together = Comparison(landscape, steps=steps, walkers=16, coupling=coupling)
                yield f"{landscape}, coupling {coupling}, turns of {steps} steps: {together.bare.faster()}"


class Comparison:
    """A run in this process and, after each of its blocks of steps, the same steps by bare loops, one per walker.

    `bare` are the blocks against loops that only step, `measured` against loops that also write the same rows.
    """

    def __init__(
        self,
        landscape: str,
        *,
        steps: int,
        walkers: int = 1,
        coupling: str = "none",
        rows_every: int | None = None,
    ) -> None:
        self.steps, self.rows_every = steps, rows_every
        self.bare, self.measured = Blocks(), Blocks()
        self.alone = coupling == "none"
        config = {
            "name": "benchmark",
            "landscape": LANDSCAPES[landscape],
            "walkers": walkers,
            "analysts": 0,
            "steps": (1 + BLOCKS) * steps,
            "dynamics": {"name": "sgd", **SETTINGS},
            "coupling": COUPLINGS[coupling],
            "log": {"every": rows_every or NEVER},
            "control": {"every": rows_every or NEVER},
            "snapshots": None,
            "checkpoint": None,
        }
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(in_process, "walk", self._walk):
            self.folder = Path(folder)
            file = self.folder / "benchmark.yaml"
            file.write_text(text.write(config), encoding="utf-8")
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                in_process.run_in_process(Request(str(file), run_dir=f"{folder}/run", report=False))

    def _walk(self, course: Course, roles: Sequence[Role], begin: int) -> int:
        walkers = roles[0]
        assert isinstance(walkers, Walkers) and isinstance(walkers.landscape, Network)
        sides: list[tuple[Blocks, Callable[[int, int], None]]] = []
        loops = [BareLoop(walkers.landscape, name, **SETTINGS) for name in walkers.names]
        sides.append((self.bare, lambda a, b: [loop.run(a, b) for loop in loops]))
        if self.rows_every:
            loop = BareLoop(walkers.landscape, walkers.names[0], **SETTINGS, table=self.folder / "bare.csv")
            sides.append((self.measured, lambda a, b: loop.run(a, b, self.rows_every)))

        def check() -> None:
            for x, loop in zip(walkers.X, loops, strict=True):
                if self.alone and (x - loop.theta).norm() > 1e-3 * x.norm():
                    raise AssertionError("the two sides did not take the same steps")

        return walk(course, [*roles, Alternation(self.steps, sides, check)], begin)


class Alternation:
    """A role that ends each block of steps of the run, and then lets the bare loops have theirs.

    The first block warms up both sides; after it `check` compares where they are.
    """

    def __init__(
        self, steps: int, sides: Sequence[tuple[Blocks, Callable[[int, int], object]]], check: Callable[[], None]
    ) -> None:
        self.steps, self.sides, self.check = steps, sides, check
        self._since = time.perf_counter()

    def step(self, t: int) -> None:
        end = t + 1
        if end % self.steps:
            return
        ours = time.perf_counter() - self._since
        for blocks, run in self.sides:
            began = time.perf_counter()
            run(end - self.steps, end)
            if end > self.steps:
                blocks.add(ours, time.perf_counter() - began)
        if end == self.steps:
            self.check()
        self._since = time.perf_counter()

    def changed(self, changes: Sequence[Change]) -> None: ...
    def report(self, t: int, due: Due) -> None: ...
    def hear(self) -> None: ...
    def close(self) -> None: ...
