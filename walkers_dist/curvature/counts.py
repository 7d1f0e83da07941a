"""The counts that papers give of a spectrum (arXiv 1611.07476, 1706.04454), from all eigenvalues or from a density.

count above     #{lambda > f lambda_1},  f = 0.1
bulk fraction   share of |lambda| < f lambda_1,  f = 0.01
negative ratio  -lambda_min / lambda_1
rank            #{lambda > tol lambda_1},  tol = 1e-12, of a matrix without negative eigenvalues
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.density import Density, mean_and_error
from walkers_dist.curvature.full import Spectrum
from walkers_dist.curvature.moments import Figure


def counts(of: Spectrum | Tensor | Density, size: int | None = None, largest: float | None = None) -> Counts:
    """What is counted of a spectrum, of its eigenvalues `[P]`, or of a density of a matrix of `size` P.

    `largest` is lambda_1 where it is known better (`extremes`); else it is the largest that there is.
    UserError if there is no eigenvalue or one that is not finite, or a density comes without the size.
    """
    if isinstance(of, Density):
        if size is None or size < 1:
            raise UserError(f"counts: size = {size}: a density does not say how many eigenvalues there are")
        return Counts(of.nodes, size * of.weights, of.residuals, _largest(of.nodes, largest))
    values = (of.eigenvalues if isinstance(of, Spectrum) else of).double()[None]
    if not values.numel() or not values.isfinite().all():
        raise UserError("counts: the eigenvalues must be finite numbers, one at least")
    return Counts(values, torch.ones_like(values), None, _largest(values, largest))


@dataclass(frozen=True)
class Counts:
    """`nodes [probes, n]`, each standing for `weights [probes, n]` eigenvalues within `residuals [probes, n]` of it.

    Without residuals the nodes are the eigenvalues, and no figure has an error. Else the error is the standard error
    over the probes (nan of one alone), and with it, in squares, the weight of nodes that are not known to lie on one
    side of the edge: so a rank that the steps did not resolve says so.
    """

    nodes: Tensor
    weights: Tensor
    residuals: Tensor | None
    largest: float

    def count_above(self, f: float = 0.1) -> Figure:
        """How many eigenvalues are above `f` times the largest."""
        return self._sum(self.nodes, f)

    def bulk_fraction(self, f: float = 0.01) -> Figure:
        """The share of eigenvalues that are smaller than `f` times the largest, in absolute value."""
        inside, P = self._sum(-self.nodes.abs(), -f), float(self.weights[0].sum())
        return Figure(inside.value / P, inside.error / P)

    def negative_ratio(self) -> Figure:
        """How large the most negative eigenvalue is, against the largest; the error is its node's residual."""
        at = int(self.nodes.argmin())
        error = 0.0 if self.residuals is None else float(self.residuals.flatten()[at]) / self._positive
        return Figure(float(-self.nodes.flatten()[at]) / self._positive, error)

    def trace(self) -> Figure:
        """The sum of all eigenvalues."""
        return self._figure((self.nodes * self.weights).sum(-1), torch.zeros(()))

    def rank(self, tol: float = 1e-12) -> Figure:
        """How many eigenvalues are not zero, of a matrix without negative ones. In float32, `tol` is above 1e-5."""
        return self.count_above(tol)

    def _sum(self, nodes: Tensor, f: float) -> Figure:
        """How many of `nodes` are above `f` times the largest."""
        edge = f * self._positive
        counted = ((nodes > edge) * self.weights).sum(-1)
        if self.residuals is None:
            return self._figure(counted, torch.zeros(()))
        return self._figure(counted, (((nodes - edge).abs() <= self.residuals) * self.weights).sum(-1).mean())

    def _figure(self, each: Tensor, doubtful: Tensor) -> Figure:
        mean, error = mean_and_error(each)
        return Figure(float(mean), 0.0 if self.residuals is None else float(error.hypot(doubtful.to(error))))

    @property
    def _positive(self) -> float:
        if not self.largest > 0:
            raise UserError(
                f"counts: the largest eigenvalue is {self.largest:g}, and counts are relative to one above 0"
            )
        return self.largest


def _largest(nodes: Tensor, largest: float | None) -> float:
    return float(nodes.max()) if largest is None else float(largest)
