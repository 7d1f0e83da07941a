"""What is to be measured at a snapshot, one task after another in the order of the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from walkers_dist import curvature
from walkers_dist.config.errors import UserError
from walkers_dist.config.kinds import Probe, Row
from walkers_dist.config.schema import CurvatureConfig, Experiment
from walkers_dist.curvature.moments import rank_from
from walkers_dist.landscape import Landscape, stream
from walkers_dist.records.index import Entry
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.snapshots import Trajectory, read_snapshot

PATIENCE = 30.0  # s that a file another node wrote may take to come into sight
Rows = dict[str, Sequence[Row]]  # table -> rows


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


MATRICES = {"hessian": curvature.hessian, "ggn": curvature.gauss_newton, "residual": curvature.residual}


def spectrum_rows(
    head: list[object], A: curvature.Operator, wanted: CurvatureConfig, whole: bool, seed: int
) -> dict[str, list[Row]]:
    """What `wanted` asks of one matrix; the rows begin with `head`: step, walker, matrix. Raises UserError."""
    step, walker, _ = head
    rows: list[Row] = []
    found = {"eigenvalues": rows}
    if wanted.top or wanted.bottom:
        v0 = torch.randn(A.size, generator=stream(seed, str(walker), "lanczos", int(str(step))))
        rows += _edges(head, curvature.extremes(A, top=wanted.top, bottom=wanted.bottom, v0=v0), wanted.bottom)
    if whole:
        values = curvature.spectrum(A).eigenvalues.flip(0).tolist()
        rows += [[*head, "full", rank, value, None] for rank, value in enumerate(values, 1)]
    if wanted.density:
        density = curvature.density(A, wanted.density.probes, wanted.density.steps, seed=seed)
        found["density"] = [
            [*head, probe, node, weight]
            for probe, (nodes, weights) in enumerate(zip(density.nodes.tolist(), density.weights.tolist(), strict=True))
            for node, weight in zip(nodes, weights, strict=True)
        ]
        found["curvature"] = [[*head, *quantity] for quantity in _quantities(A, density, seed)]
    return found


def _quantities(A: curvature.Operator, density: curvature.Density, seed: int) -> Iterator[tuple[str, float, float]]:
    """Name, value and standard error."""
    means, errors = (v.tolist() for v in density.moments(4))
    for k, (mean, error) in enumerate(zip(means, errors, strict=True), 1):
        yield f"moment {k}", mean, error
    trace, norm = curvature.trace(A, seed=seed), curvature.frobenius(A, seed=seed)
    for name, figure in (("trace", trace), ("frobenius", norm), ("effective rank", rank_from(trace, norm))):
        yield name, figure.value, figure.error


def _edges(head: Sequence[object], edges: curvature.Extremes, bottom: int) -> list[Row]:
    """Rows of both ends, each ranked from its outer end: the largest first, then the smallest."""
    pairs = list(zip(edges.eigenvalues.tolist(), edges.residuals.tolist(), strict=True))
    sides = (("top", pairs[bottom:][::-1]), ("bottom", pairs[:bottom]))
    return [[*head, side, rank, *pair] for side, found in sides for rank, pair in enumerate(found, 1)]
