"""Overlaps of top eigenvectors as rows of curvature.csv, from the vectors that the tasks of a step have kept.

gradient overlap        the share of the gradient's square that lies in the span of the top eigenvectors of its point
overlap before          of that span with the same walker's at the step measured before
overlap with NAME       of that span with another walker's at the same step, once for each pair: in the row of the one
                        that `curvature.of` names first

They have no error; nan says that a walker has diverged, that an eigenvalue has not converged, or that the vectors
before are lost. Of two spans with different numbers of vectors, the smaller number is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.config.kinds import Row
from walkers_dist.config.schema import CurvatureConfig
from walkers_dist.curvature.overlaps import overlap, share
from walkers_dist.landscape import Landscape
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.snapshots import read_snapshot
from walkers_dist.records.vectors import read_vectors
from walkers_dist.roles.spectra import Rows

Before = Mapping[tuple[str, str], int]
"""(walker, matrix) -> the step at which its vectors were kept before."""


def overlap_rows(
    run: RunDirectory, landscape: Landscape, wanted: CurvatureConfig, step: int, before: Before, patience: float = 0.0
) -> Rows:
    """The rows of a step, all walkers' and matrices' vectors being there. `before` may lack what was not measured."""
    rows: list[Row] = []
    gradients = {walker: _gradient(run, landscape, step, walker, patience) for walker in wanted.of}
    for matrix in wanted.matrix:
        tops = {walker: _top(run, step, walker, matrix, patience) for walker in wanted.of}
        pairs = list(combinations(wanted.of, 2))
        for walker, U in tops.items():
            found = {"gradient overlap": share(U, gradients[walker])}
            if (earlier := before.get((walker, matrix))) is not None:
                found["overlap before"] = overlap(_top(run, earlier, walker, matrix, patience), U)
            found |= {f"overlap with {b}": overlap(U, tops[b]) for a, b in pairs if a == walker}
            rows += [[step, walker, matrix, quantity, value, None] for quantity, value in found.items()]
    return {"curvature": rows}


def _gradient(run: RunDirectory, landscape: Landscape, step: int, walker: str, patience: float) -> Tensor:
    theta = read_snapshot(run, step, walker, patience=patience)
    return landscape.grad(theta.to(landscape.device, landscape.dtype)[None])[0].cpu()


def _top(run: RunDirectory, step: int, walker: str, matrix: str, patience: float) -> Tensor:
    """The top eigenvectors [top, P]; none where they are lost, or where one of them is not known."""
    try:
        found = read_vectors(run, step, walker, matrix, patience)
    except UserError as error:
        print(f"no overlaps with {walker} at step {step}: {error}", flush=True)
        return torch.empty(0, 0)
    return found.top if found.top_eigenvalues.isfinite().all() else found.top[:0]
