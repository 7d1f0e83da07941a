"""EASGD with momentum, and averages of a single walker, on the noisy parabola of `theory.py`.

EAMSGD (arXiv 1412.6651, Algorithm 2, all walkers at once), with the walkers' mean xb, their mean velocity v, and c:

    v <- delta v - eta (h (xb + delta v) - xi)      xb <- xb + v - alpha (xb - c)      c <- c + beta (xb - c)

MVASGD (its section 5): z <- (1 - a) z + a x beside a walker x of plain SGD, which is EASGD with alpha = 0, beta = a.
Momentum itself is EASGD too: one walker, beta = 1 and alpha = -delta give the heavy ball (Zhang's thesis, arXiv
1605.02216).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.linalg import eigvals, matrix_power

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating]


def momentum_cycle(
    eta: float,
    h: float,
    alpha: float,
    p: int,
    delta: float,
    s2: float = 1.0,
    *,
    beta: float | None = None,
    period: int = 1,
) -> tuple[Array, Array]:
    """(M, N) of EAMSGD from one step with an exchange to the next: z' = M z + noise of covariance N, z = (xb, v, c).

    M = S^(period-1) E and N = (eta^2 s2 / p) sum_{j < period} S^j u u' S'^j, where E is a step of Algorithm 2 of arXiv
    1412.6651 with the exchange, S one without it, and u = (1, 1, 0); `stationary_covariance` of `theory.py` solves it.
    """
    beta = p * alpha if beta is None else beta
    velocity = np.array([-eta * h, delta * (1 - eta * h), 0.0])
    S = np.array([velocity, velocity, [0.0, 0.0, 1.0]])
    S[0, 0] += 1
    force = np.array([[-alpha, 0.0, alpha], [0.0, 0.0, 0.0], [beta, 0.0, -beta]])
    noises = np.array([matrix_power(S, j) @ (1.0, 1.0, 0.0) for j in range(period)])
    return matrix_power(S, period - 1) @ (S + force), eta**2 * s2 / p * noises.T @ noises


def momentum_radius(
    eta: float, h: float, alpha: float, p: int, delta: float, *, beta: float | None = None, period: int = 1
) -> float:
    """The largest factor by which anything grows in one period of EAMSGD: (xb, v, c), and the walkers' deviations.

    A deviation from the mean and its velocity go by the same map with c = 0. Derived from Algorithm 2 of arXiv
    1412.6651.
    """
    M, _ = momentum_cycle(eta, h, alpha, p, delta, beta=beta, period=period)
    deviations, _ = momentum_cycle(eta, h, alpha, p, delta, beta=0.0, period=period)
    return float(max(*abs(eigvals(M)), *(abs(eigvals(deviations[:2, :2])) if p > 1 else ())))


def moving_average_variance(eta: float, h: float, a: float, s2: float = 1.0) -> float:
    """Stationary Var z of MVASGD = eta s2 / (h (2 - eta h)) a / (2 - a) (1 + k) / (1 - k), k = (1 - a)(1 - eta h).

    The first factor is Var x. Derived; `stationary_covariance(*cycle(eta, h, 0, 1, s2, beta=a))` of `theory.py`, EASGD
    (Eq. 5-6 of arXiv 1412.6651) with alpha = 0, gives the same.
    """
    k = (1 - a) * (1 - eta * h)
    return eta * s2 / (h * (2 - eta * h)) * a / (2 - a) * (1 + k) / (1 - k)
