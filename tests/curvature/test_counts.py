"""SPEC D.2: what is counted of a spectrum, by hand, and from a density with its uncertainty."""

from __future__ import annotations

import math

import pytest
import torch
from matrices import dense, rotated
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.curvature import Figure, Spectrum, counts, density, gauss_newton
from walkers_dist.landscape import build


def like_d1(P: int = 682) -> Tensor:
    """As the network of D1 with n = 8: 9 outliers, .9326 of all in the bulk, negative ratio .0036 or so."""
    generator = torch.Generator().manual_seed(0)
    between = 0.061 + 0.4 * torch.rand(37, dtype=torch.float64, generator=generator)
    bulk = 0.02 * torch.randn(636, dtype=torch.float64, generator=generator).clamp(-1, 2.9)
    bulk[0] = -0.0036 * 6.09
    return torch.cat([bulk, between, torch.linspace(0.7, 6.09, 9, dtype=torch.float64)])


def test_by_hand() -> None:
    values = torch.tensor([-0.2, -0.005, 0.0, 0.004, 0.05, 0.3, 1.0], dtype=torch.float64)
    found = counts(values)
    assert found.count_above() == Figure(2, 0)
    assert found.count_above(0.04) == Figure(3, 0)
    assert found.bulk_fraction() == Figure(3 / 7, 0)
    assert found.bulk_fraction(0.1) == Figure(4 / 7, 0)
    assert found.negative_ratio() == Figure(0.2, 0)
    assert found.trace().value == pytest.approx(1.149) and found.trace().error == 0


def test_edges_are_strict_and_order_does_not_matter() -> None:
    values = torch.tensor([8.0, 0.8, -0.08, 0.08, 0.0], dtype=torch.float64)
    found = counts(values, largest=8)
    assert found.count_above(0.1).value == 1
    assert found.bulk_fraction(0.01).value == pytest.approx(1 / 5)
    assert found.negative_ratio().value == pytest.approx(0.01)


def test_rank_is_relative_to_the_largest() -> None:
    values = torch.tensor([0.0, 1e-13, 3e-12, 1e-3, 1.0], dtype=torch.float64)
    assert counts(values).rank() == Figure(3, 0)
    assert counts(1e6 * values).rank() == Figure(3, 0)
    assert counts(values).rank(tol=1e-11) == Figure(2, 0)


def test_a_spectrum_and_its_eigenvalues_are_the_same() -> None:
    assert counts(Spectrum(like_d1())).bulk_fraction() == counts(like_d1()).bulk_fraction()


def test_a_spectrum_as_of_d1() -> None:
    found = counts(like_d1())
    assert found.count_above().value == 9
    assert found.bulk_fraction().value == pytest.approx(636 / 682)
    assert found.negative_ratio().value == pytest.approx(0.0036, abs=3e-3)


@pytest.mark.parametrize("seed", range(5))
def test_from_a_density_within_the_error(seed: int) -> None:
    values = like_d1()
    exact = counts(values)
    found = counts(density(dense(rotated(values)), probes=20, steps=80, seed=seed), size=682)
    for measure in ("count_above", "bulk_fraction", "trace"):
        figure, truth = getattr(found, measure)(), getattr(exact, measure)().value
        assert abs(figure.value - truth) <= 4 * figure.error, measure
    assert found.count_above().error < 3 and found.bulk_fraction().error < 0.05
    assert found.negative_ratio().value == pytest.approx(exact.negative_ratio().value, abs=1e-3)
    assert found.largest == pytest.approx(6.09)


def test_the_rank_of_a_gauss_newton_matrix() -> None:
    """Six samples and ten classes: rank 54 of 466, resolved when the steps are enough, and else it says it is not."""
    keys = {"data": {"name": "digits", "train_size": 6, "test_size": 10}, "model": {"name": "mlp", "hidden": [6]}}
    landscape = build(parse({"dynamics": {"name": "gd"}, "landscape": keys}, "x").landscape, dtype=torch.float64)
    G = gauss_newton(landscape, landscape.start("w0"))
    exact = counts(torch.linalg.eigvalsh(G.dense()))  # type: ignore[misc]
    full = counts(density(G, probes=20, steps=100, reorthogonalize=True), size=G.size).rank()
    assert abs(full.value - exact.rank().value) <= 4 * full.error < 0.1 * G.size
    few = counts(density(G, probes=20, steps=20, reorthogonalize=True), size=G.size).rank()
    assert abs(few.value - exact.rank().value) <= 4 * few.error
    assert few.error > 0.1 * G.size


def test_one_probe_has_no_error() -> None:
    found = counts(density(dense(rotated(like_d1())), probes=1, steps=80), size=682)
    assert math.isnan(found.count_above().error) and math.isnan(found.trace().error)


def test_a_larger_eigenvalue_that_is_known_moves_the_edge() -> None:
    values = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    found = density(dense(values.diag()), probes=3, steps=3, reorthogonalize=True)
    assert counts(found, size=3).count_above(0.5).value == pytest.approx(2)
    assert counts(found, size=3, largest=5).count_above(0.5).value == pytest.approx(1)


def test_counts_need_something_positive_finite_and_a_size() -> None:
    negative = counts(-torch.ones(3))
    assert negative.trace() == Figure(-3, 0)
    for measure in (negative.count_above, negative.bulk_fraction, negative.negative_ratio, negative.rank):
        with pytest.raises(UserError, match="the largest eigenvalue is -1, and counts are relative to one above 0"):
            measure()
    for values in (torch.tensor([1.0, math.nan]), torch.zeros(0)):
        with pytest.raises(UserError, match="finite numbers, one at least"):
            counts(values)
    with pytest.raises(UserError, match="size = None: a density does not say"):
        counts(density(dense(torch.eye(3, dtype=torch.float64)), 2, 2))
