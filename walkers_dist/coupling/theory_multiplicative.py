"""Gradient noise that multiplies: the gradient is u x with a fresh u each step, E u = ub, Var u = uv, the optimum 0.

Second moments obey linear maps of their own, and they decide what is stable: the mean converges for larger steps than
the mean square. The idea is of Zhang's thesis, "Distributed stochastic optimization for deep learning", arXiv
1605.02216, chapter 5, whose inputs with u ~ Gamma(1/2, 1) are the landscape `multiplicative`; the formulas are derived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.linalg import eigvals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating]


def minibatch_rate(eta: float, ub: float, uv: float, p: int) -> float:
    """E x^2 <- [(1 - eta ub)^2 + eta^2 uv / p] E x^2 in a step of SGD on the mean of p gradients."""
    return (1 - eta * ub) ** 2 + eta**2 * uv / p


def minibatch_largest_eta(ub: float, uv: float, p: int) -> float:
    """eta < 2 ub / (ub^2 + uv / p): where `minibatch_rate` is below 1; twice the best one."""
    return 2 * minibatch_best_eta(ub, uv, p)


def minibatch_best_eta(ub: float, uv: float, p: int) -> float:
    """eta = ub / (ub^2 + uv / p) makes `minibatch_rate` smallest."""
    return ub / (ub**2 + uv / p)


def minibatch_best_rate(ub: float, uv: float, p: int) -> float:
    """1 - ub^2 / (ub^2 + uv / p), the smallest `minibatch_rate`: with p it falls to 0, as no noise is left."""
    return 1 - ub * minibatch_best_eta(ub, uv, p)


def easgd_second_moments(eta: float, ub: float, uv: float, alpha: float, p: int, *, beta: float | None = None) -> Array:
    """The map [4, 4] of (mean_i E (x^i)^2, E xb^2, E xb c, E c^2) in a step of EASGD, Eq. 5-6 of arXiv 1412.6651.

    With r = 1 - eta ub - alpha, x^i <- (r - eta (u^i - ub)) x^i + alpha c and c <- beta xb + (1 - beta) c; the u^i are
    independent of each other, so that the walkers' mean has noise of variance eta^2 uv mean_i (x^i)^2 / p.
    """
    beta = p * alpha if beta is None else beta
    r, noise = 1 - eta * ub - alpha, eta**2 * uv
    pulled = (2 * alpha * r, alpha**2)
    return np.array(
        [
            [r**2 + noise, 0, *pulled],
            [noise / p, r**2, *pulled],
            [0, r * beta, r * (1 - beta) + alpha * beta, alpha * (1 - beta)],
            [0, beta**2, 2 * beta * (1 - beta), (1 - beta) ** 2],
        ]
    )


def easgd_second_moment_radius(
    eta: float, ub: float, uv: float, alpha: float, p: int, *, beta: float | None = None
) -> float:
    """The factor by which second moments grow in a step, in the end: the spectral radius of `easgd_second_moments`."""
    return float(abs(eigvals(easgd_second_moments(eta, ub, uv, alpha, p, beta=beta))).max())
