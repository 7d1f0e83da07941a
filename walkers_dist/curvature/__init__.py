"""Second-order measurements: a matrix as an operator, its whole spectrum, both ends of it, its density."""

from walkers_dist.curvature.counts import Counts, counts
from walkers_dist.curvature.density import Density, density
from walkers_dist.curvature.extremes import Extremes, extremes
from walkers_dist.curvature.full import Spectrum, help_with, spectrum
from walkers_dist.curvature.moments import Figure, diagonal, effective_rank, frobenius, trace
from walkers_dist.curvature.operators import Operator, gauss_newton, gradient_covariance, hessian, residual
from walkers_dist.curvature.overlaps import overlap
from walkers_dist.curvature.shared import lead

__all__ = [
    "Counts",
    "Density",
    "Extremes",
    "Figure",
    "Operator",
    "Spectrum",
    "counts",
    "density",
    "diagonal",
    "effective_rank",
    "extremes",
    "frobenius",
    "gauss_newton",
    "gradient_covariance",
    "help_with",
    "hessian",
    "lead",
    "overlap",
    "residual",
    "spectrum",
    "trace",
]
