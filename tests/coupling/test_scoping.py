"""The laws of a strength, each against a loop that follows its words."""

from __future__ import annotations

from math import cos, pi

import pytest
import torch

import walkers_dist as wd
from walkers_dist.config.load import parse
from walkers_dist.coupling.scoping import Scoping, exponential


def test_exponential_multiplies_once_a_rung() -> None:
    g, scoping = 0.1, Scoping(rate=0.05, every=3)
    for t in range(60):
        assert scoping.at(0.1, t) == pytest.approx(g, rel=1e-13)
        g *= 1.05 if t % 3 == 2 else 1


@pytest.mark.parametrize(("rate", "to"), [(0.3, 5.0), (-0.3, 0.05), (0.0, 5.0), (-0.1, 2.0), (0.1, 0.5)])
def test_exponential_stops_at_its_limit_and_stays_where_it_is_beyond_it(rate: float, to: float) -> None:
    beyond = to < 1 if rate > 0 else to > 1
    for k in range(40):
        free = (1 + rate) ** k
        wanted = 1.0 if beyond else (min if rate > 0 else max)(free, to)
        assert exponential(1.0, rate, k, to) == pytest.approx(wanted, rel=1e-13)
        one = torch.ones(1, dtype=torch.float64)
        assert exponential(one, rate, k, to).item() == pytest.approx(wanted, rel=1e-13)


def test_it_is_no_error_to_grow_for_ever() -> None:
    assert exponential(1.0, 0.05, 10**9) > 1e300
    assert exponential(1.0, 0.05, 10**9, 7.0) == 7
    assert exponential(1.0, -0.05, 10**9) == 0


def test_linear_and_cosine_go_from_the_first_value_to_the_last() -> None:
    """cosine: from 0 it is gmax/2 (1 - cos(pi e/T)), as the program of Pittorino et al. has it."""
    linear, cosine = (Scoping(law=law, to=8.0, over=10, every=2) for law in ("linear", "cosine"))
    for t in range(40):
        e = min(t // 2, 10)
        assert linear.at(3.0, t) == pytest.approx(3 + 0.5 * e)
        assert cosine.at(0.0, t) == pytest.approx(8 / 2 * (1 - cos(pi * e / 10)))
        assert cosine.at(torch.full((1,), 3.0), t).item() == pytest.approx(3 + 5 * (1 - cos(pi * e / 10)) / 2)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"law": "linear", "to": 1.0}, "coupling.scoping: law linear needs to and over, and has no rate"),
        ({"law": "cosine", "to": 1.0, "over": 3, "rate": 0.1}, "coupling.scoping: law cosine needs to and over"),
        ({"over": 3}, "coupling.scoping: over is for the laws linear and cosine"),
        ({"rate": -1.0}, "coupling.scoping.rate = -1.0: must be greater than -1"),
        ({"law": "cubic"}, "coupling.scoping.law = cubic: must be exponential, linear or cosine"),
        ({"evry": 3}, "unknown key coupling.scoping.evry; did you mean coupling.scoping.every?"),
    ],
)
def test_keys_that_do_not_fit(keys: dict[str, object], line: str) -> None:
    with pytest.raises(wd.UserError) as error:
        parse({"landscape": {"kind": "quadratic"}, "coupling": {"name": "replicated", "scoping": keys}}, "x")
    assert str(error.value).startswith(line) and "\n" not in str(error.value)
