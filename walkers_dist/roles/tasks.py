"""What is to be measured at a snapshot, one task after another in the order of the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from walkers_dist.config.errors import UserError
from walkers_dist.config.kinds import Probe, Row
from walkers_dist.config.schema import CurvatureConfig, Experiment
from walkers_dist.landscape import Landscape
from walkers_dist.records.index import Entry
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.snapshots import Trajectory, read_snapshot
from walkers_dist.roles.spectra import MATRICES, Rows, spectrum_rows

PATIENCE = 30.0  # s that a file another node wrote may take to come into sight


@dataclass(frozen=True)
class Task:
    """One measurement at one step: `name` tells it from the others of the step."""

    step: int
    name: str
    measure: Callable[[], Rows]


def tasks_at(run: RunDirectory, landscape: Landscape, experiment: Experiment, entry: Entry) -> Iterator[Task]:
    """What `experiment`, as it was at the step of this snapshot, asks for there: curvature, then the probes."""

    def is_due(every: int) -> bool:
        return entry.last or entry.step % every == 0

    step, seed, wanted = entry.step, experiment.seed, experiment.curvature
    if wanted and is_due(wanted.every):
        for walker in wanted.of:
            measure = partial(_curvature, run, landscape, wanted, step, walker, entry.last, seed)
            yield Task(step, f"curvature {walker}", measure)
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
    found: dict[str, list[Row]] = {"eigenvalues": [], **({"density": [], "curvature": []} if wanted.density else {})}
    for matrix in wanted.matrix:
        head = [step, walker, matrix]
        try:
            A = MATRICES[matrix](landscape, theta)
            rows = spectrum_rows(head, A, wanted, whole, seed)
        except UserError as error:  # a diverged walker has no spectrum: its rows say so
            print(f"{walker} at step {step}: {error}", flush=True)
            rows = {"eigenvalues": [[*head, "top", 1, float("nan"), None]]}
        for table, more in rows.items():
            found[table] += more
    return dict(found)
