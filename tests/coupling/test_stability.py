"""The warning of an unstable coupling: exactly where walkers that follow the rule diverge, and with the right bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from walkers_dist.coupling.downpour import Downpour
from walkers_dist.coupling.easgd import EASGD
from walkers_dist.coupling.elementary import Elementary
from walkers_dist.coupling.none import NoCoupling
from walkers_dist.coupling.stability import stability_warning


def plain(x: np.ndarray, eta: float, h: float) -> np.ndarray:
    return x - eta * h * x


def pulled(order: str, x: np.ndarray, c: float, eta: float, h: float, alpha: float) -> np.ndarray:
    """The walkers [p] after a step with an exchange."""
    if order == "gradient_first":
        moved = plain(x, eta, h)
        return moved - alpha * (moved - c)
    return plain(x, eta, h) - alpha * (x - c)


def diverges(coupling: EASGD, eta: float, h: float, p: int) -> bool:
    beta = p * coupling.alpha if coupling.beta is None else coupling.beta
    x, c = np.random.default_rng(1).standard_normal(p), 0.3
    for t in range(4000):
        clock = t + 1 if coupling.order == "gradient_first" else t
        if clock % coupling.period == 0:
            old, x = x, pulled(coupling.order, x, c, eta, h, coupling.alpha)
            seen = {"simultaneous": old, "center_last": x, "gradient_first": plain(old, eta, h)}[coupling.order]
            c += beta * (seen.mean() - c)
        else:
            x = plain(x, eta, h)
        if max(np.abs(x).max(), abs(c)) > 1e6:
            return True
    return False


@pytest.mark.parametrize("alpha", [-0.6, 0.05, 0.3, 0.45, 0.7, 0.95])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"period": 3},
        {"order": "center_last"},
        {"order": "gradient_first"},
        {"order": "gradient_first", "period": 2},
        {"beta": 1.0},
        {"beta": 1.6},
        {"beta": 2.5},
    ],
)
def test_warns_exactly_where_walkers_diverge(options: dict[str, Any], alpha: float) -> None:
    coupling = EASGD(alpha=alpha, **{"period": 1, **options})
    warning = stability_warning(coupling, 0.5, 1.0, 4)
    assert (warning is not None) is diverges(coupling, 0.5, 1.0, 4)
    if warning:
        assert f"coupling.alpha={alpha:g}" in warning and "lr=0.5" in warning and "\n" not in warning
        assert ("numeric" in warning) is (options != {})


def test_warning_names_bound_and_formula() -> None:
    warning = stability_warning(EASGD(alpha=0.5, period=1), 0.5, 1.0, 4)
    assert warning is not None and "alpha < 0.375 = (4 - 2 lr h) / (2 (p + 1) - lr h p)" in warning
    numeric = stability_warning(EASGD(alpha=0.9, beta=1.5, period=1), 0.5, 1.0, 4)
    assert numeric is not None and "alpha < 0.375 (numeric bound" in numeric  # (2 - lr h)(2 - beta)/2


def test_warning_of_elementary() -> None:
    warning = stability_warning(Elementary(alpha=0.1), 2.8, 1.0, 4)
    assert warning is not None and "coupling.alpha=0.1" in warning and "alpha > 0.444444 = max(1 - 1/|G|" in warning
    assert stability_warning(Elementary(alpha=0.5), 2.8, 1.0, 4) is None
    assert "none" in str(stability_warning(Elementary(alpha=0.5, period=2), 2.8, 1.0, 4))


def test_silent_where_nothing_is_known_or_nothing_is_wrong() -> None:
    assert stability_warning(NoCoupling(), 5.0, 1.0, 4) is None
    assert stability_warning(EASGD(alpha=0.9), 0.5, -1.0, 4) is None
    assert stability_warning(EASGD(alpha=0.0), 0.5, 1.0, 4) is None
    assert stability_warning(EASGD(alpha=-0.9, beta=1.0, period=1), 0.5, 1.0, 1) is None  # momentum 0.9


@pytest.mark.parametrize("period", [1, 50])
@pytest.mark.parametrize("name", ["easgd", "elementary"])
def test_a_rate_beyond_all_numbers_is_warned_of(name: str, period: int) -> None:
    coupling = {"easgd": EASGD, "elementary": Elementary}[name](period=period)
    assert "coupling.alpha=0.1 is outside the stable range" in str(stability_warning(coupling, 1e300, 1.0, 4))
    assert "no period is stable" in str(stability_warning(Downpour(period=16), 1e300, 1.0, 4))


@pytest.mark.parametrize("period", [1, 5])
@pytest.mark.parametrize("alpha", [0.05, 0.3, 0.36, 0.45, 0.9])
def test_warns_of_eamsgd_exactly_where_walkers_diverge(alpha: float, period: int) -> None:
    eta, h, p, delta = 0.3, 1.0, 4, 0.9
    x, v, c = np.random.default_rng(1).standard_normal(p), np.zeros(p), 0.3
    for t in range(4000):
        d = alpha * (x - c) if t % period == 0 else np.zeros(p)
        v = delta * v - eta * h * (x + delta * v)
        x, c = x + v - d, c + d.sum()
        if not np.abs(x).max() < 1e6:
            break
    warning = stability_warning(EASGD(alpha=alpha, period=period), eta, h, p, look_ahead=delta)
    assert (warning is not None) is (not np.abs(x).max() < 1e6)
    assert not warning or "momentum 0.9" in warning


def test_momentum_has_a_bound_in_one_order_alone() -> None:
    assert stability_warning(EASGD(alpha=0.9, period=1), 0.5, 1.0, 4, look_ahead=0.5) is not None
    for coupling in (EASGD(alpha=0.9, period=1, order="gradient_first"), Elementary(alpha=0.1)):
        assert stability_warning(coupling, 2.8, 1.0, 4) is not None
        assert stability_warning(coupling, 2.8, 1.0, 4, look_ahead=0.5) is None


@pytest.mark.parametrize(("eta", "p"), [(0.1, 4), (0.1, 2), (1.3, 4), (2.1, 1)])
@pytest.mark.parametrize("period", [1, 4, 7, 16])
def test_warns_of_downpour_exactly_where_walkers_diverge(eta: float, p: int, period: int) -> None:
    c = 1.0
    for _ in range(300):
        x = c
        for _ in range(period):
            x -= eta * x
        c += p * (x - c)
        if abs(c) > 1e6:
            break
    warning = stability_warning(Downpour(period=period), eta, 1.0, p)
    assert (warning is not None) is (abs(c) > 1e6)
    assert not warning or f"coupling.period={period} is outside the stable range with lr={eta}" in warning
