"""The figures of one matrix, named as in curvature.csv: exact from all its eigenvalues, or estimated beside a density.

moment 1 … moment 4     the mean of lambda^k over all eigenvalues
trace, frobenius        the sum of the eigenvalues, and the root of the sum of their squares
effective rank          trace^2 / frobenius^2
above 0.1 top           how many eigenvalues are above a tenth of the largest
bulk fraction           the share of them that are smaller than a hundredth of it, in absolute value
negative ratio          -lambda_min / lambda_max
rank                    how many are not zero; of a Gauss-Newton matrix alone, which has no negative ones

The counts are relative to the largest eigenvalue, and nan where it is not above 0. `roles/overlaps.py` names those
that need vectors.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from walkers_dist.curvature.counts import Counts, counts
from walkers_dist.curvature.density import Density
from walkers_dist.curvature.moments import Figure, frobenius, rank_from, trace
from walkers_dist.curvature.operators import Operator

MOMENTS = 4
Named = tuple[str, Figure]
TOL = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Of the largest eigenvalue: what is below it is a zero with its rounding."""


def exact(eigenvalues: Tensor, *, rank: bool) -> Iterator[Named]:
    """From all eigenvalues [P], without errors; with `rank`, of a matrix that has no negative ones."""
    values = eigenvalues.double().cpu()
    for k in range(1, MOMENTS + 1):
        yield f"moment {k}", Figure(float((values**k).mean()), 0.0)
    yield from _sums(Figure(float(values.sum()), 0.0), Figure(float(values.norm()), 0.0))
    yield from _counted(counts(values), TOL[eigenvalues.dtype] if rank else None)


def estimated(A: Operator, density: Density, seed: int, largest: float | None, *, rank: bool) -> Iterator[Named]:
    """From a density of A and 60 more products, with standard errors; `largest` is lambda_max where it is known."""
    means, errors = (v.tolist() for v in density.moments(MOMENTS))
    for k, (mean, error) in enumerate(zip(means, errors, strict=True), 1):
        yield f"moment {k}", Figure(mean, error)
    yield from _sums(trace(A, seed=seed), frobenius(A, seed=seed))
    yield from _counted(counts(density, A.size, largest), TOL[A.dtype] if rank else None)


def _sums(tr: Figure, norm: Figure) -> Iterator[Named]:
    yield "trace", tr
    yield "frobenius", norm
    yield "effective rank", rank_from(tr, norm)


def _counted(found: Counts, tol: float | None) -> Iterator[Named]:
    figures = {
        "above 0.1 top": lambda: found.count_above(0.1),
        "bulk fraction": lambda: found.bulk_fraction(0.01),
        "negative ratio": found.negative_ratio,
    }
    if tol is not None:
        figures["rank"] = lambda: found.rank(tol)
    for name, figure in figures.items():
        yield name, figure() if found.largest > 0 else Figure(torch.nan, torch.nan)
