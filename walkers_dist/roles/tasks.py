"""What is to be measured at a snapshot, one task after another in the order of the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from walkers_dist.config.kinds import Probe, Row
from walkers_dist.config.schema import CurvatureConfig, Experiment
from walkers_dist.landscape import Landscape
from walkers_dist.records.index import Entry
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.snapshots import Trajectory, read_snapshot
from walkers_dist.roles.overlaps import overlap_rows
from walkers_dist.roles.spectra import MATRICES, Rows, point_rows

PATIENCE = 30.0  # s that a file another node wrote may take to come into sight


@dataclass(frozen=True)
class Task:
    """One measurement at one step: `name` tells it from the others of the step.

    `after_others`: it needs what the tasks before it have left in files.
    """

    step: int
    name: str
    measure: Callable[[], Rows]
    after_others: bool = False


def tasks_at(
    run: RunDirectory,
    landscape: Landscape,
    experiment: Experiment,
    entry: Entry,
    kept: dict[tuple[str, str], int] | None = None,
) -> Iterator[Task]:
    """What `experiment`, as it was at the step of this snapshot, asks for there: curvature, then the probes.

    `kept`: (walker, matrix) -> the last step whose vectors are kept, of the snapshots before; then of this one too.
    """
    kept = {} if kept is None else kept

    def is_due(every: int) -> bool:
        return entry.last or entry.step % every == 0

    step, seed, wanted = entry.step, experiment.seed, experiment.curvature
    if wanted and is_due(wanted.every):
        for walker in wanted.of:
            measure = partial(_curvature, run, landscape, wanted, step, walker, entry.last, seed)
            yield Task(step, f"curvature {walker}", measure)
        if wanted.vectors and wanted.top:
            measure = partial(overlap_rows, run, landscape, wanted, step, dict(kept), PATIENCE)
            yield Task(step, "overlaps", measure, after_others=True)
            kept |= {(walker, matrix): step for walker in wanted.of for matrix in wanted.matrix}
    for name, probe in experiment.probes_of_snapshots.items():
        if is_due(probe.every):
            yield Task(step, name, partial(probe_at, run, landscape, probe, step, seed))


def probe_at(run: RunDirectory, landscape: Landscape, probe: Probe, step: int, seed: int) -> Rows:
    """The rows of a probe at a step of a run, by table. Raises UserError where there is no such snapshot."""
    like = torch.empty(0, dtype=landscape.dtype, device=landscape.device)
    with torch.no_grad():
        found = probe.measure(landscape, Trajectory(run, step, like, PATIENCE), step, seed)
    return dict(found)


def _curvature(
    run: RunDirectory,
    landscape: Landscape,
    wanted: CurvatureConfig,
    step: int,
    walker: str,
    last: bool,
    seed: int,
) -> Rows:
    theta = read_snapshot(run, step, walker, patience=PATIENCE)
    whole = wanted.full == "always" or (wanted.full == "at_end" and last)
    found: dict[str, list[Row]] = {"eigenvalues": []}
    for matrix in wanted.matrix:
        make = partial(MATRICES[matrix], landscape, theta)
        rows = point_rows(run, landscape.size, make, (step, walker, matrix), wanted, whole, seed)
        for table, more in rows.items():
            found.setdefault(table, []).extend(more)
    return dict(found)
