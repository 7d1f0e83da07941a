"""What is known in closed form: p walkers and a center on the parabola F(x) = h x^2 / 2 with noisy gradients.

Here all walkers step together, by plain gradients; with momentum and averages see `theory_momentum.py`, one walker
after another `theory_round_robin.py`, with noise that multiplies `theory_multiplicative.py`.

The gradient is h x - xi with Var xi = s2; the optimum is 0; beta = p alpha unless it is given. The walkers' mean xb and
the center c obey a linear map of the plane, z' = M z + eta u xi_mean with z = (xb, c); the deviations x^i - xb obey a
factor of their own. Update rules: Zhang, Choromanska, LeCun, "Deep learning with elastic averaging SGD",
arXiv 1412.6651, Eq. 5-6. The paper's analysis of the quadratic case (its supplement) writes a = eta h + (p + 1) alpha,
c^2 = eta h p alpha and gamma, phi for the two eigenvalues; here they are a, q, lam_plus and lam_minus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.linalg import eigvals, matrix_power, solve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating]
    Time = TypeVar("Time", float, Array)

Order = Literal["simultaneous", "gradient_first", "center_last"]


# EASGD, order simultaneous, an exchange every step


def eigenvalues(eta: float, h: float, alpha: float, p: int) -> tuple[float, float]:
    """lam+- = 1 - (a -/+ sqrt(a^2 - 4q)) / 2,  a = eta h + (p+1) alpha,  q = eta h p alpha; the larger one first.

    Of the map of (xb, c) under Eq. 5-6 of arXiv 1412.6651 (gamma and phi of its supplement); real for alpha > 0.
    """
    a, q = eta * h + (p + 1) * alpha, eta * h * p * alpha
    root = np.sqrt(a * a - 4 * q)
    return float(1 - (a - root) / 2), float(1 - (a + root) / 2)


def center_mean(t: Time, eta: float, h: float, alpha: float, p: int, *, x0: float, c0: float) -> Time:
    """E c_t = [lam+^t (c1 - lam- c0) - lam-^t (c1 - lam+ c0)] / (lam+ - lam-),  c1 = beta x0 + (1 - beta) c0.

    The bias of the center in arXiv 1412.6651 (supplement, quadratic case); x0 is the mean of the walkers at t = 0.
    """
    plus, minus = eigenvalues(eta, h, alpha, p)
    c1 = p * alpha * x0 + (1 - p * alpha) * c0
    return (plus**t * (c1 - minus * c0) - minus**t * (c1 - plus * c0)) / (plus - minus)


def center_variance(eta: float, h: float, alpha: float, p: int, s2: float = 1.0) -> float:
    """Stationary Var c = (beta eta s2 / (p h)) (2 - a + q) / [(a - q)(4 - 2a + q)],  a, q as in `eigenvalues`.

    Equal to the form in arXiv 1412.6651 (supplement, quadratic case, t -> infinity):
    beta^2 eta^2 (s2/p) (1 + lam+ lam-) / [(1 - lam+ lam-)(1 - lam+^2)(1 - lam-^2)]. Holds in the stable range.
    """
    a, q = eta * h + (p + 1) * alpha, eta * h * p * alpha
    return (alpha * eta * s2 / h) * (2 - a + q) / ((a - q) * (4 - 2 * a + q))


def center_variance_limit(eta: float, h: float, beta: float, s2: float = 1.0) -> float:
    """lim p Var c, p -> infinity at fixed beta = (s2/h^2) beta x / ((2-beta)(2-x)) (2-beta-x+beta x) / (beta+x-beta x).

    x = eta h. The limit of `center_variance`; the corollary to the quadratic case in arXiv 1412.6651 (supplement).
    """
    x = eta * h
    return (s2 / h**2) * beta * x / ((2 - beta) * (2 - x)) * (2 - beta - x + beta * x) / (beta + x - beta * x)


def largest_stable_alpha(eta: float, h: float, p: int) -> float:
    """alpha < (4 - 2 eta h) / (2 (p+1) - eta h p), for alpha > 0 and 0 < eta h < 2; 0 where no alpha is stable.

    Jury's conditions on the map of (xb, c) of Eq. 5-6 in arXiv 1412.6651 with beta = p alpha; the deviations' own
    condition, eta h + alpha < 2, follows.
    """
    x = eta * h
    return (4 - 2 * x) / (2 * (p + 1) - x * p) if 0 < x < 2 else 0.0


# EASGD in any order, any period


def step_map(
    eta: float, h: float, alpha: float, p: int, *, order: Order = "simultaneous", beta: float | None = None
) -> tuple[Array, Array]:
    """(M, u) of one step with an exchange: z' = M z + eta u xi_mean, z = (xb, c), Var xi_mean = s2 / p.

    simultaneous: Eq. 5-6 of arXiv 1412.6651; gradient_first: distlearn's AllReduceEA; center_last: Gauss-Seidel.
    """
    beta = p * alpha if beta is None else beta
    gradient = np.diag([1 - eta * h, 1.0])
    walkers = np.array([[1 - alpha, alpha], [0.0, 1.0]])  # xb <- xb - alpha (xb - c)
    center = np.array([[1.0, 0.0], [beta, 1 - beta]])  # c <- c + beta (xb - c)
    noise, one = np.array([1.0, 0.0]), np.eye(2)
    if order == "gradient_first":
        force = walkers + center - one
        return force @ gradient, force @ noise
    if order == "center_last":
        return center @ (walkers + gradient - one), center @ noise
    return walkers + center + gradient - 2 * one, noise


def cycle(
    eta: float,
    h: float,
    alpha: float,
    p: int,
    s2: float = 1.0,
    *,
    order: Order = "simultaneous",
    beta: float | None = None,
    period: int = 1,
) -> tuple[Array, Array]:
    """(M, N) of a step with an exchange and the period - 1 plain ones after it: z' = M z + noise of covariance N.

    M = S^(period-1) E,  N = (eta^2 s2 / p) (S^(period-1) u u' S'^(period-1) + sum_{j < period-1} S^j e e' S'^j), where
    E, u are those of `step_map`, S = diag(1 - eta h, 1), e = (1, 0). Derived from Eq. 5-6 of arXiv 1412.6651.
    """
    exchange, u = step_map(eta, h, alpha, p, order=order, beta=beta)
    plain = np.diag([1 - eta * h, 1.0])
    last = matrix_power(plain, period - 1)
    noises = np.array([last @ u, *(matrix_power(plain, j) @ (1.0, 0.0) for j in range(period - 1))])
    return last @ exchange, eta**2 * s2 / p * noises.T @ noises


def stationary_covariance(M: Array, N: Array) -> Array:
    """V = M V M' + N, Lyapunov's equation in discrete time: vec V = (1 - M (x) M)^-1 vec N.

    With (M, N) of `cycle`: the covariance of (xb, c) at the start of a step with an exchange. ValueError if M is not
    stable, where there is no stationary state.
    """
    if abs(eigvals(M)).max() >= 1:
        raise ValueError("no stationary covariance: the map has an eigenvalue of modulus 1 or more")
    n = len(M)
    return solve(np.eye(n * n) - np.kron(M, M), N.ravel()).reshape(n, n)


def radius(
    eta: float,
    h: float,
    alpha: float,
    p: int,
    *,
    order: Order = "simultaneous",
    beta: float | None = None,
    period: int = 1,
) -> float:
    """The largest factor by which anything grows in one period: eigenvalues of (xb, c), and the deviations x^i - xb."""
    M, _ = cycle(eta, h, alpha, p, order=order, beta=beta, period=period)
    plain = 1 - eta * h
    deviation = ((1 - alpha) * plain if order == "gradient_first" else plain - alpha) * plain ** (period - 1)
    return float(max(*abs(eigvals(M)), abs(deviation) if p > 1 else 0.0))


# The rule of elementary-walkers, without its rescaling


def elementary_center_variance(eta: float, h: float, alpha: float, p: int, s2: float = 1.0) -> float:
    """Stationary Var c = e s2 / (p h (2 - e h)),  e = (1 - alpha) eta: the center is plain SGD with learning rate e.

    Derived from `util.center_averaging` of elementary-walkers, where c is exactly the walkers' mean.
    """
    e = (1 - alpha) * eta
    return e * s2 / (p * h * (2 - e * h))


def elementary_spread(eta: float, h: float, alpha: float, p: int, s2: float = 1.0) -> float:
    """Stationary Var(x^i - c) = (1-alpha)^2 eta^2 s2 (1 - 1/p) / (1 - ((1-alpha)(1-eta h))^2).

    Derived from `util.center_averaging` of elementary-walkers.
    """
    return ((1 - alpha) * eta) ** 2 * s2 * (1 - 1 / p) / (1 - ((1 - alpha) * (1 - eta * h)) ** 2)


def elementary_smallest_alpha(eta: float, h: float, p: int, period: int = 1) -> float:
    """alpha > max(1 - 1/|G|, (G+1)/(G-1)),  G = (1 - eta h)^period, G < 1; the first term for p > 1 only; else inf.

    From |(1-alpha) G| < 1 for the deviations and |alpha + (1-alpha) G| < 1 for the center. Derived, for alpha < 1.
    """
    G = (1 - eta * h) ** period
    if G >= 1:
        return np.inf
    return max((G + 1) / (G - 1), 1 - 1 / abs(G) if p > 1 and G else -np.inf)


# DOWNPOUR


def downpour_factor(eta: float, h: float, p: int, period: int) -> float:
    """1 - p (1 - (1 - eta h)^period), by which the center is multiplied in a period; it diverges beyond +-1.

    All p walkers push their sums of steps at once, then all begin at the new center: Algorithm 3 in the supplement of
    arXiv 1412.6651 (Dean et al., "Large scale distributed deep networks", 2012), made synchronous. Derived.
    """
    return 1 - p * (1 - (1 - eta * h) ** period)
