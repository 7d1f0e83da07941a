"""EASGD and ADMM when the walkers take turns, on the parabola F(x) = h x^2 / 2 without noise.

Walker i = t mod p moves in step t, alone with the center: arXiv 1412.6651, section 4, which compares the stability of
the two. Both are linear; what happens in a cycle of p steps is the product of p matrices, and its spectral radius says
whether they converge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.linalg import eigvals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating]


def easgd_cycle(eta: float, h: float, alpha: float, p: int) -> Array:
    """The map [p+1, p+1] of (x^1 … x^p, c) in a cycle of EASGD; step t, with i = t mod p:

        x^i <- x^i - eta h x^i - alpha (x^i - c)        c <- c + alpha (x^i - c)

    both from old values: the round robin form of Algorithm 1 with period 1 in arXiv 1412.6651, section 4.
    """
    cycle = np.eye(p + 1)
    for i in range(p):
        step = np.eye(p + 1)
        step[np.ix_([i, p], [i, p])] = [[1 - eta * h - alpha, alpha], [alpha, 1 - alpha]]
        cycle = step @ cycle
    return cycle


def easgd_largest_stable_alpha(eta: float, h: float) -> float:
    """alpha <= (4 - 2 eta h) / (4 - eta h), for 0 <= eta h <= 2, whatever p is; else 0.

    The condition of arXiv 1412.6651, section 4 (there h = 1). Each step is then a symmetric map that lengthens
    nothing. For odd p it is exact; for even p larger alpha are stable too, by some per cent.
    """
    x = eta * h
    return (4 - 2 * x) / (4 - x) if 0 <= x <= 2 else 0.0


def admm_cycle(eta: float, h: float, rho: float, p: int) -> Array:
    """The map [2p+1, 2p+1] of (x^1 … x^p, l^1 … l^p, c) in a cycle of linearised ADMM; step t, with i = t mod p:

        l^i <- l^i - (x^i - c)
        x^i <- (x^i - eta h x^i + eta rho (l^i + c)) / (1 + eta rho)
        c   <- (1/p) sum_j (x^j - l^j)

    each with the values just made: arXiv 1412.6651, section 4, with the scaled dual l.
    """
    c, cycle = 2 * p, np.eye(2 * p + 1)
    for x, l in zip(range(p), range(p, 2 * p), strict=True):
        dual, primal, center = np.eye(2 * p + 1), np.eye(2 * p + 1), np.eye(2 * p + 1)
        dual[l, [x, c]] = -1, 1
        primal[x, [x, l, c]] = np.array([1 - eta * h, eta * rho, eta * rho]) / (1 + eta * rho)
        center[c] = np.repeat([1 / p, -1 / p, 0], [p, p, 1])
        cycle = center @ primal @ dual @ cycle
    return cycle


def cycle_radius(cycle: Array) -> float:
    """The largest modulus of an eigenvalue of the map of a cycle; the method converges where it is below 1."""
    return float(abs(eigvals(cycle)).max())
