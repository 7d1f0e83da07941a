"""Curvature at one point as rows of the tables: the edges of a spectrum, all of it, its density, figures of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from walkers_dist import curvature
from walkers_dist.config.errors import UserError
from walkers_dist.config.kinds import Row
from walkers_dist.config.schema import CurvatureConfig
from walkers_dist.curvature.quantities import Named, estimated, exact
from walkers_dist.landscape import Landscape, stream
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.vectors import Vectors, no_vectors, write_vectors

Rows = dict[str, Sequence[Row]]  # table -> rows


@dataclass(frozen=True)
class Bench:
    """How a long measurement is made: `folder` keeps what is not finished, `tell(part, done, all)` says how far it is.

    `yes`: also what does not fit into free memory is tried. `vectors(step, walker, matrix, found)` is given the
    eigenvectors of both ends, where they are wanted.
    """

    folder: Path | None = None
    tell: Callable[[str, int, int], object] | None = None
    yes: bool = False
    vectors: Callable[[int, str, str, Vectors], object] | None = None

    def file(self, name: str) -> Path | None:
        return self.folder / name if self.folder else None

    def progress(self, part: str) -> Callable[[int, int], object] | None:
        return partial(self.tell, part) if self.tell else None

    def products(self, products: int, converged: int, wanted: int) -> None:
        if self.tell:
            self.tell("edges", converged, wanted)


AT_ONCE = Bench()
MATRICES = {"hessian": curvature.hessian, "ggn": curvature.gauss_newton, "residual": curvature.residual}


def check_matrices(asked: Sequence[str], landscape: Landscape) -> None:
    """Raise UserError where a part of the Hessian is asked of a landscape without outputs."""
    if {"ggn", "residual"} & set(asked) and type(landscape).gauss_newton_at is Landscape.gauss_newton_at:
        raise UserError(f"curvature.matrix = [{', '.join(asked)}]: must be [hessian] on a landscape without outputs")


def point_rows(
    run: RunDirectory,
    size: int,
    make: Callable[[], curvature.Operator],
    head: tuple[int, str, str],
    wanted: CurvatureConfig,
    whole: bool,
    seed: int,
    bench: Bench = AT_ONCE,
) -> Rows:
    """`spectrum_rows` of the matrix [size, size] that `make` gives; its vectors are kept in the run where wanted.

    What cannot be measured (a diverged walker has no spectrum) is a line in the log and a row that says nan.
    """
    step, walker, _ = head
    bench = replace(bench, vectors=partial(write_vectors, run))
    try:
        return spectrum_rows(list(head), make(), wanted, whole, seed, bench)
    except UserError as error:
        print(f"{walker} at step {step}: {error}", file=sys.stderr, flush=True)
        if wanted.vectors:
            write_vectors(run, *head, no_vectors(size))
        return {"eigenvalues": [[*head, "top", 1, float("nan"), None]]}


def spectrum_rows(
    head: list[object], A: curvature.Operator, wanted: CurvatureConfig, whole: bool, seed: int, bench: Bench = AT_ONCE
) -> Rows:
    """What `wanted` asks of one matrix; the rows begin with `head`: step, walker, matrix. Raises UserError."""
    step, walker, matrix = int(str(head[0])), str(head[1]), str(head[2])
    rows: list[Row] = []
    found: Rows = {"eigenvalues": rows}
    largest: float | None = None
    if wanted.top or wanted.bottom:
        v0 = torch.randn(A.size, generator=stream(seed, walker, "lanczos", step))
        keep = bench.vectors if wanted.vectors else None
        bottom = min(wanted.bottom, A.size)
        edges = curvature.extremes(
            A,
            min(wanted.top, A.size),
            bottom,
            vectors=keep is not None,
            v0=v0,
            state=bench.file(f"{step}-{walker}-{matrix}-edges"),
            progress=bench.products,
        )
        rows += _edges(head, edges, bottom)
        if keep:
            keep(step, walker, matrix, _vectors(edges, bottom))
        if wanted.top and edges.converged[-1]:
            largest = float(edges.eigenvalues[-1])
    figures: list[Named] = []
    if whole:
        rows_kept = bench.file(f"{step}-{walker}-{matrix}-rows")
        values = curvature.spectrum(A, yes=bench.yes, progress=bench.progress("spectrum"), state=rows_kept).eigenvalues
        rows += [[*head, "full", rank, value, None] for rank, value in enumerate(values.flip(0).tolist(), 1)]
        figures = list(exact(values, rank=matrix == "ggn"))
    if wanted.density:
        density = curvature.density(
            A, wanted.density.probes, wanted.density.steps, seed=seed, progress=bench.progress("density")
        )
        found["density"] = [
            [*head, probe, node, weight]
            for probe, (nodes, weights) in enumerate(zip(density.nodes.tolist(), density.weights.tolist(), strict=True))
            for node, weight in zip(nodes, weights, strict=True)
        ]
        figures = figures or list(estimated(A, density, seed, largest, rank=matrix == "ggn"))
    if figures:
        found["curvature"] = [[*head, name, figure.value, figure.error] for name, figure in figures]
    return found


def _edges(head: Sequence[object], edges: curvature.Extremes, bottom: int) -> list[Row]:
    """Rows of both ends, each ranked from its outer end: the largest first, then the smallest."""
    pairs = list(zip(edges.eigenvalues.tolist(), edges.residuals.tolist(), strict=True))
    sides = (("top", pairs[bottom:][::-1]), ("bottom", pairs[:bottom]))
    return [[*head, side, rank, *pair] for side, found in sides for rank, pair in enumerate(found, 1)]


def _vectors(edges: curvature.Extremes, bottom: int) -> Vectors:
    """In the order of their rows in the table."""
    assert edges.vectors is not None
    values, V = edges.eigenvalues, edges.vectors
    return Vectors(V[bottom:].flip(0), V[:bottom], values[bottom:].flip(0), values[:bottom])
