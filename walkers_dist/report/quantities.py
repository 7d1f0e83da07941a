"""Curvature in numbers: traces, ranks and counts over steps with their errors, and all figures of the latest step."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from walkers_dist.report.changes import Mark, mark_changes
from walkers_dist.report.figure import chart, linear_axis, log_axis, number, to_svg, whole_axis
from walkers_dist.report.html import Picture, escape, exact, fold, grid, legend, section, table
from walkers_dist.report.lines import NAMED, SMALL, draw, looks
from walkers_dist.report.lines import legend as keys_of
from walkers_dist.report.overlaps import is_overlap
from walkers_dist.report.points import Point, chosen, latest, left_out, named
from walkers_dist.report.series import curves

TITLES = {
    "trace": "Trace",
    "frobenius": "Frobenius norm",
    "effective rank": "Effective rank",
    "above 0.1 top": "Eigenvalues above 0.1 λ₁",
    "bulk fraction": "Share smaller than 0.01 λ₁",
    "negative ratio": "−λmin / λ₁",
    "rank": "Rank",
    "moment 1": "Mean of λ",
    "moment 2": "Mean of λ²",
    "moment 3": "Mean of λ³",
    "moment 4": "Mean of λ⁴",
}
CHARTED = ("trace", "effective rank", "above 0.1 top", "bulk fraction", "negative ratio", "rank")
SYMBOLS = {"hessian": "H", "ggn": "G", "residual": "H − G"}
LEAST = 0.005
"""An axis spans at least so much of its values on both sides: smaller differences have no room in its numbers."""
COLUMNS = 6
"""So many points stand beside each other in the table."""


def quantities(curvature: pd.DataFrame, changes: list[Mark]) -> str:
    """Charts of the first matrix, and folded those of the others; a table alone where there is one step."""
    rows = curvature[~curvature["quantity"].map(is_overlap)]
    if rows.empty:
        return ""
    points = latest(rows)
    drawn = chosen(points, COLUMNS)
    head = ["latest values", *(f"{SYMBOLS.get(point.matrix, point.matrix)}, {point.walker}" for point in drawn)]
    values = table(head, _cells(drawn), numeric=True) + left_out(points, drawn, "curvature")
    charts: dict[str, str] = {}
    for matrix, of in rows.groupby("matrix", sort=False):
        if pictures := _charts(f"quantities-{len(charts)}", of, changes):
            charts[str(matrix)] = _legend(of) + grid(pictures, small=True)
    if not charts:
        return section("quantities", "Curvature in numbers", values)
    (first, body), *rest = charts.items()
    folded = [fold(named(matrix), f"<div>{more}</div>") for matrix, more in rest]
    folded.append(fold("All figures at the latest step", f"<div>{values}</div>"))
    return section("quantities", f"Curvature in numbers: {named(first)}", body, *folded)


def with_error(value: float, error: float) -> str:
    """A figure for people, with as many digits as its error leaves it; all of its digits for machines."""
    if not math.isfinite(value):
        return '<span class="none">–</span>'
    if not (math.isfinite(error) and error > 0):
        return exact(value, number(float(f"{value:.4g}")))
    digits = max(math.floor(math.log10(abs(value) or error)) - math.floor(math.log10(error)) + 2, 1)
    return (
        f"{exact(value, number(float(f'{value:.{min(digits, 4)}g}')))} ± {exact(error, number(float(f'{error:.2g}')))}"
    )


def _cells(points: list[Point]) -> list[list[str]]:
    """The steps, then a row for every quantity; a column for every point."""
    known = [
        {str(q): (float(v), float(e)) for q, v, e in zip(of["quantity"], of["value"], of["error"], strict=True)}
        for of in (point.rows for point in points)
    ]
    order = [*TITLES, *(name for of in known for name in of if name not in TITLES)]
    rows = [name for name in dict.fromkeys(order) if any(name in of for of in known)]
    nothing = (math.nan, math.nan)
    steps = ["Step", *(f"{point.step:,}" for point in points)]
    return [
        steps,
        *([escape(TITLES.get(name, name)), *(with_error(*of.get(name, nothing)) for of in known)] for name in rows),
    ]


def _charts(name: str, rows: pd.DataFrame, changes: list[Mark]) -> list[Picture]:
    """A small chart for each quantity that is known at two steps at least."""
    found: list[Picture] = []
    for quantity in CHARTED:
        of = rows[rows["quantity"] == quantity]
        if of.loc[np.isfinite(of["value"]), "step"].nunique() > 1:
            found.append(_chart(f"{name}-{len(found)}", quantity, of, changes))
    return found


def _legend(rows: pd.DataFrame) -> str:
    return legend(keys_of(list(dict.fromkeys(rows["walker"]))))


def _chart(name: str, quantity: str, rows: pd.DataFrame, changes: list[Mark]) -> Picture:
    shown = curves(rows, "walker", "value")
    errors = curves(rows, "walker", "error")
    known = looks([curve.name for curve in shown])
    few = len(shown) <= NAMED + 1  # the bars of a cloud would hide it
    bars = [np.nan_to_num(error.y) * few for error in errors]
    ends = np.concatenate([curve.y + sign * bar for curve, bar in zip(shown, bars, strict=True) for sign in (-1, 1)])
    values = ends[np.isfinite(ends)]
    figure, axes = chart("step", "", size=SMALL)
    low, high = float(values.min()), float(values.max())
    room = LEAST * max(abs(low), abs(high))
    if low > 0 and high > 20 * low:
        log_axis(axes, low, high)
    else:
        linear_axis(axes, min(low, high - room), max(high, low + room))
    whole_axis(axes, rows["step"].to_numpy(dtype=np.float64), ticks=5)
    inside = [mark for mark in changes if rows["step"].min() <= mark.step <= rows["step"].max()]
    mark_changes(axes, inside, None)
    for curve, bar in zip(shown, bars, strict=True):
        look = known[curve.name]
        if curve.measured:
            axes.vlines(curve.x, curve.y - bar, curve.y + bar, color=look.color, linewidth=1.0, alpha=look.alpha)
            draw(axes, curve, look, len(shown))
    title = TITLES.get(quantity, quantity)
    return Picture(title, to_svg(figure, name, escape(f"{title} over steps")), "")
