"""The counts that papers give of a spectrum (arXiv 1611.07476, 1706.04454), from all eigenvalues or from a density.

outliers        #{lambda > f lambda_1},  f = 0.1
bulk            share of |lambda| < f lambda_1,  f = 0.01
negative ratio  -lambda_min / lambda_1
rank            #{lambda > tol lambda_1},  tol = 1e-12
"""

from __future__ import annotations

from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.density import Density
from walkers_dist.curvature.moments import Figure


def outliers(eigenvalues: Tensor, f: float = 0.1) -> int:
    """How many eigenvalues are above `f` times the largest."""
    return int((eigenvalues > f * _largest(eigenvalues)).sum())


def bulk(eigenvalues: Tensor, f: float = 0.01) -> float:
    """The share of eigenvalues that are smaller than `f` times the largest, in absolute value."""
    return float((eigenvalues.abs() < f * _largest(eigenvalues)).double().mean())


def negative_ratio(eigenvalues: Tensor) -> float:
    """How large the most negative eigenvalue is, against the largest."""
    return float(-eigenvalues.min() / _largest(eigenvalues))


def rank(eigenvalues: Tensor, tol: float = 1e-12) -> int:
    """How many eigenvalues are not zero, of a matrix without negative ones."""
    return outliers(eigenvalues, tol)


def outliers_of_density(density: Density, largest: float, size: int, f: float = 0.1) -> Figure:
    """As `outliers`, of a matrix with `size` eigenvalues of which the `largest` is known (`extremes`)."""
    share, error = density.share(f * _positive(largest), float("inf"))
    return Figure(size * share, size * error)


def bulk_of_density(density: Density, largest: float, f: float = 0.01) -> Figure:
    """As `bulk`, where the `largest` eigenvalue is known."""
    edge = f * _positive(largest)
    return Figure(*density.share(-edge, edge))


def _largest(eigenvalues: Tensor) -> float:
    if not eigenvalues.numel() or not eigenvalues.isfinite().all():
        raise UserError("counts: the eigenvalues must be finite numbers, one at least")
    return _positive(float(eigenvalues.max()))


def _positive(largest: float) -> float:
    if not largest > 0:
        raise UserError(f"counts: the largest eigenvalue is {largest:g}, and counts are relative to one above 0")
    return largest
