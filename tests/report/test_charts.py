"""What charts are made of: thinning, limits, names of numbers, places of labels, the bend of the spectrum's axis."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from walkers_dist.report.changes import LETTER, Mark, labels, marks
from walkers_dist.report.facts import best
from walkers_dist.report.figure import LEFT, RIGHT, WIDTH, number
from walkers_dist.report.lines import looks
from walkers_dist.report.series import POINTS_PER_CURVE, WILD, Curve, curves, highest_shown, thin
from walkers_dist.report.spectrum import knee


def curve(*y: float) -> Curve:
    return Curve("w0", np.arange(len(y), dtype=float), np.array(y))


def test_thinning_keeps_ends_and_every_spike() -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal(100_000)
    y[[777, 31_415, 99_990]] = 50, -60, 70
    y[500:600] = np.nan
    thinned = thin(Curve("w0", np.arange(100_000.0), y), 1)
    assert len(thinned.x) <= POINTS_PER_CURVE + 2
    assert {0.0, 99_999.0, 777.0, 31_415.0, 99_990.0} <= set(thinned.x)
    assert np.array_equal(thinned.y, y[thinned.x.astype(int)], equal_nan=True)
    assert (np.diff(thinned.x) > 0).all()


def test_a_short_curve_is_left_alone() -> None:
    short = curve(3, 2, 1)
    assert thin(short, 64) is short


def test_curves_turn_what_is_not_finite_into_gaps() -> None:
    table = pd.read_csv(io.StringIO("step,walker,v\n0,center,1\n0,w0,2\n1,center,inf\n1,w0,nan\n2,center,3\n2,w0,\n"))
    center, w0 = curves(table, "walker", "v")
    np.testing.assert_array_equal(center.y, [1, np.nan, 3])
    np.testing.assert_array_equal(w0.y, [2, np.nan, np.nan])
    assert (center.name, center.lost_at, w0.name, w0.lost_at) == ("center", None, "w0", 1)


def test_only_a_curve_far_above_its_fellows_is_cut_off() -> None:
    calm, wild = curve(2.0, 1.0, 0.5), curve(2.0, 1e9, np.nan)
    assert highest_shown([calm, calm]) is None
    assert highest_shown([calm, wild, calm]) == WILD * 2.0
    assert highest_shown([curve(1e-6, 1e-7), curve(100.0, 1.0)]) is None  # far apart from the start is no divergence
    assert highest_shown([curve(np.nan)]) is None


def test_names_of_numbers() -> None:
    names = {0: "0", 1: "1", 0.001: "0.001", -0.25: "−0.25", 2000: "2000", 1e-5: "10⁻⁵", -1e6: "−10⁶", 3e-12: "3·10⁻¹²"}
    assert {value: number(value) for value in names} == names


def change(step: int) -> Mark:
    return Mark(step, "dynamics.lr → 0.01", "lr → 0.01")


@pytest.mark.parametrize(
    ("steps", "long"),
    [([500], 1), ([0, 1000], 1), ([300, 450], 1), ([100, 110, 120], 1), ([950, 990], 1), ([200, 400, 600, 800], 0)],
)
def test_labels_of_changes_touch_neither_each_other_nor_a_line(steps: list[int], long: bool) -> None:
    places = labels([change(step) for step in steps], 0, 1000)
    assert places is not None
    assert {label.text for label in places} == {"dynamics.lr → 0.01" if long else "lr → 0.01"}
    width, length = WIDTH - LEFT - RIGHT, LETTER * len(places[0].text)
    lines = [step / 1000 * width for step in steps]
    spans = [(x - length, x) if label.ends else (x, x + length) for x, label in zip(lines, places, strict=True)]
    for i, a in enumerate(places):
        assert spans[i][0] >= -LEFT and spans[i][1] <= width + RIGHT
        for j, b in enumerate(places):
            if i != j and a.row == b.row:
                assert spans[i][1] < spans[j][0] or spans[j][1] < spans[i][0]
            if a.row > b.row:  # the line of i crosses the row of j
                assert not spans[j][0] < lines[i] < spans[j][1]


def test_too_many_changes_have_no_labels() -> None:
    assert labels([change(step) for step in range(0, 1000, 10)], 0, 1000) is None
    assert labels([change(step) for step in range(500, 506)], 0, 1000) is None


def test_marks_are_changes_and_one_per_step() -> None:
    events = pd.DataFrame(
        {
            "step": [5, 5, 9, 9, 12],
            "source": ["schedule", "live", "fault", "stop", "curvature"],
            "key": ["dynamics.lr", "steps", None, None, "dynamics.lr"],
            "new": ["0.01", "90", "w1 diverged", None, "0.2"],
        }
    )
    assert marks(events) == [
        Mark(5, "dynamics.lr → 0.01 (+1)", "lr → 0.01 (+1)"),
        Mark(12, "dynamics.lr → 0.2", "lr → 0.2"),
    ]


def test_walkers_look_different_while_they_are_few() -> None:
    few = looks(["center", *(f"w{i}" for i in range(8))])
    assert len({(look.color, look.dash) for look in few.values()}) == 9
    many = looks(["center", *(f"w{i}" for i in range(64))])
    assert len({look.color for look in many.values()}) == 2 and many["w5"].alpha < 1
    assert looks(["w3"])["w3"] == few["w3"]  # the same colour in every picture


def test_best_ignores_what_is_not_finite() -> None:
    results = pd.DataFrame(
        {
            "step": [0, 0, 1, 1],
            "walker": ["center", "w0", "center", "w0"],
            "train_loss": [3.0, 2.0, np.inf, np.nan],
            "train_accuracy": np.nan,
            "test_loss": [2.5, 2.75, -np.inf, np.nan],
            "test_accuracy": np.nan,
        }
    )
    found = best(results)
    assert found is not None
    assert (found.metric, found.value, found.walker, found.step) == ("test_loss", 2.5, "center", 0)
    assert best(results.assign(train_loss=np.nan, test_loss=np.nan)) is None


def test_the_spectrum_axis_bends_where_its_bulk_is() -> None:
    rng = np.random.default_rng(0)
    assert knee(np.concatenate([1e-3 * rng.standard_normal(3000), [50.0, 80.0]])) == 1e-3
    assert knee(np.array([0.0, 0.0, 4.0])) == 1.0 * 10 ** round(np.log10(4.0))
    assert knee(np.zeros(5)) == 1.0
    assert knee(np.array([1e-8] * 9 + [100.0])) == 1e-4  # never more than six decades below the largest
