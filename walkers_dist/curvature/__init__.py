"""Second-order measurements: the Hessian as an operator, its whole spectrum, and both ends of it."""

from walkers_dist.curvature.extremes import Extremes, extremes
from walkers_dist.curvature.full import Spectrum, spectrum
from walkers_dist.curvature.operators import Operator, gauss_newton, gradient_covariance, hessian, residual

__all__ = [
    "Extremes",
    "Operator",
    "Spectrum",
    "extremes",
    "gauss_newton",
    "gradient_covariance",
    "hessian",
    "residual",
    "spectrum",
]
