"""Curvature of a run that has ended: what its analyst would have measured, at any snapshot, at any time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Unpack

import torch

from walkers_dist.api.blocks import Block, Latest, Plan, Subject, Tell, measure
from walkers_dist.api.costs import Cost, cost, memory, refuse_too_large
from walkers_dist.api.opened import Run
from walkers_dist.api.probing import Steps, steps_of
from walkers_dist.api.selection import Asked, check_sizes, selected
from walkers_dist.config.errors import UserError
from walkers_dist.config.schema import CurvatureConfig
from walkers_dist.curvature import Operator
from walkers_dist.curvature.operators import Share
from walkers_dist.curvature.shared import Make
from walkers_dist.distributed import devices
from walkers_dist.distributed.analysis import together
from walkers_dist.distributed.start import World
from walkers_dist.landscape import build
from walkers_dist.records.files import verify
from walkers_dist.records.index import Entry, step_folder, step_of
from walkers_dist.records.journal import Journal
from walkers_dist.records.snapshots import read_snapshot, snapshot_index
from walkers_dist.roles.overlaps import overlap_rows
from walkers_dist.roles.spectra import MATRICES, Bench, Rows, check_matrices, point_rows
from walkers_dist.roles.tasks import PATIENCE

MOST_RANKS = 128


def analyze(
    run: str | Path | Run,
    overrides: Sequence[str] = (),
    *,
    steps: Steps = "last",
    ranks: int = 1,
    tell: Tell | None = None,
    yes: bool = False,
    **asked: Unpack[Asked],
) -> Run:
    """Measure the curvature at snapshots of a run and put its rows into the run's tables, in their order.

    `steps` is `last`, `all`, or steps that have a snapshot; `overrides` are `key=value` of the section `curvature`, for
    the other keywords see `selection.Asked`. Where something is asked for (`top=5`), that alone is measured; else what
    the run's own section, or the defaults, say. Rows of an equal measurement are replaced; an estimate does not replace
    what is known exactly. Killed and called again with the same arguments, it goes on where it was.
    `ranks` processes share each matrix; under torchrun they are those of the job, each of which calls this, and the
    first measures. `tell(At(…))` is told where it stands.
    Raises UserError, before anything is changed, for wrong input, for what does not fit into free memory (`yes` tries
    it all the same), and while the run goes on.
    """
    run = run if isinstance(run, Run) else Run(run)
    wanted, chosen = _request(run, overrides, steps, asked)
    world = World.from_environment()
    subject = Points(run, world.rank if world else 0)
    plan = subject.plan(wanted, chosen)

    def work(matrix: Callable[[str], Operator]) -> None:
        subject.matrix = Latest(matrix)
        try:
            run.directory.claim()
        except OSError as error:
            raise UserError(f"{run.path}: cannot be written: {error.strerror}") from None
        try:
            measured(subject, plan, tell, yes)
        finally:
            run.directory.release()

    refuse_ranks(ranks)
    together(ranks, "walkers_dist.api.analyzing:member", {"run": str(run.path)}, work, subject.share)
    return run


def refuse_ranks(ranks: int) -> None:
    if not 1 <= ranks <= MOST_RANKS:
        raise UserError(f"ranks = {ranks}: must be from 1 to {MOST_RANKS}")


def member(rank: int, run: str) -> Make:
    """What another rank makes of the run's matrices."""
    return Points(Run(run), rank).share


def estimate(
    run: str | Path | Run, overrides: Sequence[str] = (), *, steps: Steps = "last", **asked: Unpack[Asked]
) -> Cost:
    """What `analyze` would cost with these arguments: nothing is measured but a few products. Raises UserError."""
    run = run if isinstance(run, Run) else Run(run)
    wanted, chosen = _request(run, overrides, steps, asked)
    subject = Points(run)
    return cost(subject, subject.plan(wanted, chosen))


def measured(subject: Subject, plan: Plan, tell: Tell | None, yes: bool) -> None:
    """Measure it all, unless it does not fit into free memory. Raises UserError."""
    check = None
    if not yes:
        first = plan.blocks()[0]
        A = subject.operator(first.step, first.walker, first.matrix)
        check = partial(refuse_too_large, memory(A, plan), A.device, A.size, bool(plan.whole))
        check()
    measure(subject, plan, tell, check)


def _request(run: Run, overrides: Sequence[str], steps: Steps, asked: Asked) -> tuple[CurvatureConfig, list[int]]:
    own = run.config.curvature
    return selected(own, run.config.point_names, overrides, asked), steps_of(run, steps)


class Points:
    """The points of a run, on the landscape that its analyst measures: in double precision.

    `matrix(name)` gives a matrix, by step, walker and kind in a name: by itself, or with the help of other ranks.
    """

    def __init__(self, run: Run, rank: int = 0) -> None:
        self.directory, self.experiment = run.directory, run.config
        self.matrix = Latest(lambda name: self.share(name, (0, 1)))
        devices.set_up_process(self.experiment.threads)
        self.landscape = build(
            self.experiment.landscape,
            seed=self.experiment.seed,
            dtype=torch.float64,
            device=devices.device_of_rank(self.experiment.device, rank),
        )

    def plan(self, wanted: CurvatureConfig, steps: Sequence[int]) -> Plan:
        """Raises UserError where the points are not there, or have no such curvature."""
        check_sizes(wanted, self.experiment.curvature, self.landscape.size)
        check_matrices(wanted.matrix, self.landscape)
        last = set()
        for entry in map(self._entry, steps):
            for file in entry.files_of(wanted.of):
                verify(step_folder(self.directory.snapshots, entry.step) / file, entry.parts[file].digest)
            last |= {entry.step} if entry.last else set()
        whole = {"never": set(), "at_end": last, "always": set(steps)}[wanted.full]
        if not (whole or wanted.top or wanted.bottom or wanted.density):
            raise UserError(
                f"curvature.full = {wanted.full}: nothing else is asked for, and the last step is not chosen"
            )
        return Plan(wanted, steps, frozenset(whole))

    def operator(self, step: int, walker: str, matrix: str) -> Operator:
        return self.matrix(f"{step} {walker} {matrix}")

    def share(self, name: str, share: Share) -> Operator:
        """What a share of the data adds to a matrix."""
        step, walker, matrix = name.split()
        theta = read_snapshot(self.directory, int(step), walker, patience=PATIENCE)
        return MATRICES[matrix](self.landscape, theta, share=share)

    def rows(self, block: Block, wanted: CurvatureConfig, bench: Bench) -> Rows:
        head, seed = (block.step, block.walker, block.matrix), self.experiment.seed
        make = partial(self.operator, *head)
        return point_rows(self.directory, self.landscape.size, make, head, wanted, block.whole, seed, bench)

    def overlaps(self, step: int, wanted: CurvatureConfig) -> Rows:
        if not wanted.top:
            return {}
        before = {}
        for folder in sorted(self.directory.path.glob("vectors/step-*")):
            for file in folder.glob("*.safetensors") if step_of(folder) < step else ():
                walker, _, matrix = file.stem.partition("-")
                before[walker, matrix] = step_of(folder)
        return overlap_rows(self.directory, self.landscape, wanted, step, before)

    def identity(self, step: int, wanted: CurvatureConfig) -> object:
        entry, surface = self._entry(step), self.experiment.landscape.model_dump()
        digests = [entry.parts[file].digest.sha256 for file in entry.files_of(wanted.of)]
        return [surface, self.experiment.seed, digests]

    def rewriting(self) -> AbstractContextManager[None]:
        return Journal(self.directory).rewriting()

    def _entry(self, step: int) -> Entry:
        return snapshot_index(self.directory).at(step)
