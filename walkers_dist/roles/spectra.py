"""Curvature at one point as rows of the tables: the edges of a spectrum, all of it, its density, figures of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from walkers_dist import curvature
from walkers_dist.config.kinds import Row
from walkers_dist.config.schema import CurvatureConfig
from walkers_dist.curvature.moments import rank_from
from walkers_dist.landscape import stream

Rows = dict[str, Sequence[Row]]  # table -> rows


@dataclass(frozen=True)
class Bench:
    """How a long measurement is made: `folder` keeps what is not finished, `tell(part, done, all)` says how far it is.

    `yes`: also what does not fit into free memory is tried.
    """

    folder: Path | None = None
    tell: Callable[[str, int, int], object] | None = None
    yes: bool = False

    def file(self, name: str) -> Path | None:
        return self.folder / name if self.folder else None

    def progress(self, part: str) -> Callable[[int, int], object] | None:
        return partial(self.tell, part) if self.tell else None

    def products(self, products: int, converged: int, wanted: int) -> None:
        if self.tell:
            self.tell("edges", converged, wanted)


AT_ONCE = Bench()
MATRICES = {"hessian": curvature.hessian, "ggn": curvature.gauss_newton, "residual": curvature.residual}


def spectrum_rows(
    head: list[object], A: curvature.Operator, wanted: CurvatureConfig, whole: bool, seed: int, bench: Bench = AT_ONCE
) -> Rows:
    """What `wanted` asks of one matrix; the rows begin with `head`: step, walker, matrix. Raises UserError."""
    step, walker, matrix = head
    rows: list[Row] = []
    found: Rows = {"eigenvalues": rows}
    if wanted.top or wanted.bottom:
        v0 = torch.randn(A.size, generator=stream(seed, str(walker), "lanczos", int(str(step))))
        edges = curvature.extremes(
            A,
            wanted.top,
            wanted.bottom,
            v0=v0,
            state=bench.file(f"{step}-{walker}-{matrix}-edges"),
            progress=bench.products,
        )
        rows += _edges(head, edges, wanted.bottom)
    if whole:
        values = curvature.spectrum(A, yes=bench.yes, progress=bench.progress("spectrum")).eigenvalues.flip(0).tolist()
        rows += [[*head, "full", rank, value, None] for rank, value in enumerate(values, 1)]
    if wanted.density:
        density = curvature.density(
            A, wanted.density.probes, wanted.density.steps, seed=seed, progress=bench.progress("density")
        )
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
