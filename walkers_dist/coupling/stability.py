"""A coupling outside its stable range, said in one line with the bound: on a parabola, by the closed forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from walkers_dist.coupling.downpour import Downpour
from walkers_dist.coupling.easgd import EASGD
from walkers_dist.coupling.elementary import Elementary
from walkers_dist.coupling.theory import downpour_factor, elementary_smallest_alpha, largest_stable_alpha, radius
from walkers_dist.coupling.theory_momentum import momentum_radius
from walkers_dist.coupling.theory_round_robin import easgd_largest_stable_alpha

if TYPE_CHECKING:
    from walkers_dist.config.kinds import Coupling


@np.errstate(over="ignore", invalid="ignore")
def stability_warning(
    coupling: Coupling, dynamics_lr: float, curvature_h: float, walkers: int, where: str = "", look_ahead: float = 0.0
) -> str | None:
    """One sentence if gradient steps with this coupling diverge on a parabola of curvature h, else None.

    `curvature_h` is the largest curvature of the surface, or of it `where`; `look_ahead` is Nesterov's momentum as in
    EAMSGD. None where nothing is known: h <= 0, other couplings, momentum with another order than simultaneous.
    With momentum of another kind in the dynamics the bounds do not hold: do not ask.
    """
    if curvature_h <= 0 or not has_bound(coupling, look_ahead):
        return None
    eta, h, p = dynamics_lr, curvature_h, walkers
    key = "period" if isinstance(coupling, Downpour) else "alpha"
    try:
        stable = _outside(coupling, eta, h, p, look_ahead)
    except (OverflowError, np.linalg.LinAlgError):  # lr h is beyond all numbers
        stable = f"no {key} is stable"
    here = f"with lr={eta:g}, walkers p={p} and curvature h={h:g}" + f" ({where})" * bool(where)
    return stable and f"coupling.{key}={getattr(coupling, key):g} is outside the stable range {here}: {stable}"


def round_robin_warning(
    coupling: Coupling, dynamics_lr: float, curvature_h: float, walkers: int, where: str = ""
) -> str | None:
    """As `stability_warning`, of plain gradient steps where the walkers take turns; of an even number of them some
    alpha beyond the bound are stable too."""
    eta, h = dynamics_lr, curvature_h
    if h <= 0 or not has_bound_in_round_robin(coupling):
        return None
    assert isinstance(coupling, EASGD)
    bound, formula = easgd_largest_stable_alpha(eta, h), "(4 - 2 lr h) / (4 - lr h)"
    if 0 <= coupling.alpha <= bound:
        return None
    here = f"with lr={eta:g}, walkers p={walkers} in turns and curvature h={h:g}" + f" ({where})" * bool(where)
    stable = f"0 <= alpha <= {bound:.6g} = {formula}" if bound else f"none, as alpha <= {formula} needs lr h below 2"
    return f"coupling.alpha={coupling.alpha:g} is outside the stable range {here}: {stable}"


def has_bound_in_round_robin(coupling: Coupling) -> bool:
    if not isinstance(coupling, EASGD):
        return False
    return coupling.order == "simultaneous" and coupling.period == 1 and coupling.beta is None


def has_bound(coupling: Coupling, look_ahead: float = 0.0) -> bool:
    """Whether a stable range of this coupling is known, with Nesterov's momentum or without."""
    if isinstance(coupling, EASGD):
        return not look_ahead or coupling.order == "simultaneous"
    return isinstance(coupling, Elementary | Downpour) and not look_ahead


def _outside(coupling: Coupling, eta: float, h: float, p: int, delta: float) -> str | None:
    """What would be stable; None where the coupling is."""
    if isinstance(coupling, Downpour):
        return _downpour(coupling, eta, h, p)
    if isinstance(coupling, Elementary):
        return _elementary(coupling, eta, h, p)
    assert isinstance(coupling, EASGD)
    plain = coupling.order == "simultaneous" and coupling.period == 1 and coupling.beta is None and not delta
    return _easgd_exact(coupling, eta, h, p) if plain else _easgd_numeric(coupling, eta, h, p, delta)


def _easgd_exact(coupling: EASGD, eta: float, h: float, p: int) -> str | None:
    bound = largest_stable_alpha(eta, h, p)
    if 0 <= coupling.alpha < bound:
        return None
    formula = "(4 - 2 lr h) / (2 (p + 1) - lr h p)"
    return f"0 < alpha < {bound:.6g} = {formula}" if bound else f"none, as 0 < alpha < {formula} needs lr h below 2"


def _easgd_numeric(coupling: EASGD, eta: float, h: float, p: int, delta: float) -> str | None:
    def growth(alpha: float) -> float:
        if delta:
            return momentum_radius(eta, h, alpha, p, delta, beta=coupling.beta, period=coupling.period)
        return radius(eta, h, alpha, p, order=coupling.order, beta=coupling.beta, period=coupling.period)

    outside, limit = coupling.alpha, 1 + 1e-12
    if growth(outside) <= limit:
        return None
    about = f"spectral radius {growth(outside):.6g} of order {coupling.order}, period {coupling.period}"
    about += "" if coupling.beta is None else f", beta {coupling.beta:g}"
    about += f", momentum {delta:g}" * bool(delta)
    stable = [alpha for alpha in np.linspace(-1, 1, 801)[1:-1].tolist() if growth(alpha) <= limit]
    if not stable:
        return f"no alpha between -1 and 1 is stable (numeric: {about})"
    inside = min(stable, key=lambda alpha: abs(alpha - outside))
    side = "<" if inside < outside else ">"
    for _ in range(40):  # bisection between the nearest stable alpha and the configured one
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if growth(middle) <= limit else (inside, middle)
    return f"alpha {side} {inside:.6g} (numeric bound: {about})"


def _elementary(coupling: Elementary, eta: float, h: float, p: int) -> str | None:
    bound = elementary_smallest_alpha(eta, h, p, coupling.period)
    if coupling.alpha > bound:
        return None
    if np.isinf(bound):
        return "none, as G = (1 - lr h)^period must be below 1"
    formula = "max(1 - 1/|G|, (G + 1)/(G - 1))" if p > 1 else "(G + 1)/(G - 1)"
    return f"alpha > {bound:.6g} = {formula}, G = (1 - lr h)^period" + " (without rescale)" * coupling.rescale


def _downpour(coupling: Downpour, eta: float, h: float, p: int) -> str | None:
    factor = abs(downpour_factor(eta, h, p, coupling.period))
    if factor <= 1 + 1e-12:
        return None
    return (
        f"|1 - p (1 - (1 - lr h)^period)|, by which the center grows in a period, is {factor:.6g} and must be below 1"
    )
