"""DOWNPOUR with all walkers at once: the published factors, the rule by hand, and where EASGD still converges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from walkers_dist.coupling.theory import downpour_factor, radius


@pytest.mark.parametrize(("period", "factor"), [(4, "-0.3756"), (16, "-2.2587919245")], ids=["A19-4", "A19-16"])
def test_published_factor_here_and_over_gloo(period: int, factor: str, program: Any, bowl: Any, printed: Any) -> None:
    """A push at 0 moves nothing; each one after multiplies the center by the factor."""
    seen = program.both(bowl({"name": "downpour", "period": period}, steps=3 * period + 1, curvature=1.0, start=1.0))
    c = seen.c[1::period, 0]
    assert c[0] == 1 and len(c) == 4
    assert (c[1:] / c[:-1]).tolist() == [printed(factor)] * 3
    assert downpour_factor(0.1, 1.0, 4, period) == printed(factor)


def test_elastic_averaging_converges_where_downpour_diverges(program: Any, bowl: Any) -> None:
    """At period 16, with alpha = 0.9 / p, as in the paper (A19, A20)."""
    rules = {"downpour": {}, "easgd": {"alpha": 0.225}}
    ends = {
        name: abs(
            program.here(bowl({"name": name, "period": 16, **keys}, steps=321, every=321, curvature=1.0)).c[-1, 0]
        )
        for name, keys in rules.items()
    }
    assert ends["downpour"] > 1e6 and ends["easgd"] < 1e-3
    assert radius(0.1, 1.0, 0.225, p=4, period=16) < 1


def test_every_step_by_hand(program: Any, bowl: Any) -> None:
    """Walkers that start apart, with a period that changes: what they have summed up since they pulled is pushed."""
    start, optima, h = [1.0, -2.0, 3.0, 0.5], [0.2, -0.1, 0.4, 0.0], np.array([0.3, 1.0])
    schedule = [{"at": 9, "set": {"coupling.period": 2}}]
    seen = program.both(
        bowl(
            {"name": "downpour", "period": 5}, steps=20, dim=2, curvature=[0.3, 1.0], start=start, optima=optima,
            center_start=0.7, more={"schedule": schedule},
        )
    )  # fmt: skip
    c, x, u = np.full(2, 0.7), [np.full(2, at) for at in start], [np.zeros(2)] * 4
    for t in range(20):
        np.testing.assert_allclose(seen.x[t], x, rtol=0, atol=1e-14)
        np.testing.assert_allclose(seen.c[t], c, rtol=0, atol=1e-14)
        if t % (5 if t < 9 else 2) == 0:
            c = c + sum(u)
            x, u = [c] * 4, [np.zeros(2)] * 4
        steps = [-0.1 * h * (at - m) for at, m in zip(x, optima, strict=True)]
        x = [at + step for at, step in zip(x, steps, strict=True)]
        u = [so_far + step for so_far, step in zip(u, steps, strict=True)]
