"""A long analysis, a block after another: what a kill leaves, the same analysis takes up when it is begun again.

analysis/late/DIGEST/       one analysis; the digest is that of all that makes it the same
    STEP-WALKER-MATRIX.json     the rows of a finished block, put in place whole
    STEP-WALKER-MATRIX-edges    a search that was going on
    merged                      all rows are in the tables, and this folder is about to go
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from walkers_dist import curvature
from walkers_dist.config.errors import UserError
from walkers_dist.config.schema import CurvatureConfig
from walkers_dist.records import disk
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tables import merge_rows, read_rows
from walkers_dist.roles.spectra import Bench, Rows

MERGING = 0.05
"""Of the time of an analysis, that may go into merging rows before all are there."""


@dataclass(frozen=True)
class At:
    """Where an analysis stands: in a part (edges, spectrum, density) of a block, so many of which are done.

    `share` is that of the whole analysis, its blocks and their parts taken as equally long.
    """

    step: int
    walker: str
    matrix: str
    part: str
    done: int
    all: int
    block: int
    blocks: int
    share: float

    def __str__(self) -> str:
        within = f" {100 * self.done // self.all} %" if self.all else ""
        return f"block {self.block}/{self.blocks}  step {self.step} {self.walker} {self.matrix}  {self.part}{within}"


Tell = Callable[[At], object]


class Latest:
    """A matrix by its name, prepared once as long as no other is asked for; the one before is let go first."""

    def __init__(self, make: Callable[[str], curvature.Operator]) -> None:
        self._make, self._known = make, dict[str, curvature.Operator]()

    def __call__(self, name: str) -> curvature.Operator:
        if name not in self._known:
            self._known.clear()
            self._known[name] = self._make(name)
        return self._known[name]


class Subject(Protocol):
    """What has a curvature: the points of a run, or a network by itself."""

    @property
    def directory(self) -> RunDirectory: ...

    def operator(self, step: int, walker: str, matrix: str) -> curvature.Operator: ...

    def rows(self, block: Block, wanted: CurvatureConfig, bench: Bench) -> Rows:
        """What is measured of a matrix, its vectors kept where they are wanted. Raises UserError."""
        ...

    def overlaps(self, step: int, wanted: CurvatureConfig) -> Rows:
        """Of the vectors that the blocks of a step have kept."""
        ...

    def identity(self, step: int, wanted: CurvatureConfig) -> object:
        """What makes a measurement at a step the same as another, beside what is wanted: for JSON."""
        ...

    def rewriting(self) -> AbstractContextManager[None]:
        """In it, tables may be rewritten."""
        ...


@dataclass(frozen=True)
class Block:
    step: int
    walker: str
    matrix: str
    whole: bool

    @property
    def name(self) -> str:
        return f"{self.step}-{self.walker}-{self.matrix}"


@dataclass(frozen=True)
class Plan:
    """What is to be measured, and at which steps; at those of `whole`, the whole spectrum too."""

    wanted: CurvatureConfig
    steps: Sequence[int]
    whole: frozenset[int]

    def at(self, step: int) -> list[Block]:
        """The blocks of a step, in the order of the tables."""
        return [
            Block(step, walker, matrix, step in self.whole)
            for walker in self.wanted.of
            for matrix in self.wanted.matrix
        ]

    def blocks(self) -> list[Block]:
        return [block for step in self.steps for block in self.at(step)]


def measure(subject: Subject, plan: Plan, tell: Tell | None = None, check: Callable[[], object] | None = None) -> None:
    """Measure all blocks of the plan and put their rows into the tables. The caller owns the directory.

    `check` is called before each block, and may raise UserError.
    """
    kept = Kept(subject, plan)
    if not kept.is_merged():
        try:
            _measure(subject, plan, kept, tell, check)
        except UserError:
            kept.leave()
            raise
        kept.say_merged()
    kept.remove()


def _measure(subject: Subject, plan: Plan, kept: Kept, tell: Tell | None, check: Callable[[], object] | None) -> None:
    begun, merging = time.monotonic(), 0.0
    waiting: list[Rows] = []
    number = 0
    for step in plan.steps:
        for block in plan.at(step):
            number += 1
            if (found := kept.rows(block.name)) is None:
                if check:
                    check()
                teller = _teller(tell, block, number, plan)
                found = subject.rows(block, plan.wanted, Bench(kept.folder, teller, yes=True))
                kept.put(block.name, found)
            waiting.append(found)
        if plan.wanted.vectors:
            waiting.append(subject.overlaps(step, plan.wanted))
        now = time.monotonic()
        if step == plan.steps[-1] or merging <= MERGING * (now - begun):
            _merge(subject, waiting)
            waiting.clear()
            merging += time.monotonic() - now


def _teller(tell: Tell | None, block: Block, number: int, plan: Plan) -> Callable[[str, int, int], object] | None:
    if tell is None:
        return None
    wanted, blocks = plan.wanted, len(plan.blocks())
    there = {"edges": wanted.top or wanted.bottom, "spectrum": block.whole, "density": wanted.density}
    parts = [part for part, asked in there.items() if asked]

    def say(part: str, done: int, all_of_it: int) -> None:
        within = (parts.index(part) + done / all_of_it) / len(parts) if part in parts else 0.0
        share = (number - 1 + within) / blocks
        tell(At(block.step, block.walker, block.matrix, part, done, all_of_it, number, blocks, share))

    say("begins", 0, 0)
    return say


def _merge(subject: Subject, found: Sequence[Rows]) -> None:
    names = dict.fromkeys(name for rows in found for name in rows)
    with subject.rewriting():
        for name in names:
            path = subject.directory.table(name)
            new = [row for rows in found for row in rows.get(name, ())]
            if name == "curvature":
                new = list(_no_worse(path, new))
            merge_rows(path, name, new)


def _no_worse(path: Path, rows: Sequence[Sequence[object]]) -> Iterator[Sequence[object]]:
    """Without the estimates of what is known exactly."""
    known = {tuple(list(row.values())[:4]) for row in read_rows(path) if row["error"] == "0"}
    for row in rows:
        if row[-1] in (None, 0.0) or tuple(map(str, row[:4])) not in known:
            yield row


class Kept:
    """The folder of one analysis."""

    def __init__(self, subject: Subject, plan: Plan) -> None:
        self.folder = subject.directory.analysis / "late" / _digest(subject, plan)
        self.folder.mkdir(parents=True, exist_ok=True)

    def rows(self, name: str) -> Rows | None:
        try:
            return json.loads((self.folder / f"{name}.json").read_bytes())
        except FileNotFoundError:
            return None

    def put(self, name: str, rows: Rows) -> None:
        disk.replace(self.folder / f"{name}.json", json.dumps(rows).encode())

    def is_merged(self) -> bool:
        return (self.folder / "merged").exists()

    def say_merged(self) -> None:
        disk.replace(self.folder / "merged", b"")

    def remove(self) -> None:
        for path in self.folder.iterdir():
            if path.name != "merged":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.folder / "merged").unlink()
        self.leave()

    def leave(self) -> None:
        """Without a folder that holds nothing."""
        with suppress(OSError):  # it holds something
            for folder in (self.folder, *self.folder.parents[:2]):
                folder.rmdir()


def _digest(subject: Subject, plan: Plan) -> str:
    wanted = plan.wanted.model_dump(exclude={"every", "full"})
    steps = [[step, step in plan.whole, subject.identity(step, plan.wanted)] for step in plan.steps]
    return hashlib.sha256(json.dumps([wanted, steps]).encode()).hexdigest()[:16]
