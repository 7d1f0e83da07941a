"""How far apart the population is: walker to center and walker to walker, over steps and at the last one."""

from __future__ import annotations

import numpy as np
import pandas as pd

from walkers_dist.report.changes import Mark
from walkers_dist.report.figure import HUES, INK
from walkers_dist.report.heat import heatmap
from walkers_dist.report.html import Key, Picture, absent, grid, section
from walkers_dist.report.lines import Look, Scale, legend, line_chart, looks
from walkers_dist.report.series import Curve, curves

UNIT = "distance (Euclidean, parameter units)"
SEPARATE_PAIRS = 60
"""Of more pairs than this only mean and range are drawn."""
WRITTEN_IN = 9
"""Up to so many points, a heatmap's cells hold their numbers."""


def apart(distances: pd.DataFrame, changes: list[Mark]) -> str:
    if distances.empty:
        return section("distances", "Distances", absent("No distance was recorded."))
    touches = (distances["a"] == "center") | (distances["b"] == "center")
    pictures = [_to_center(distances[touches], changes), _between(distances[~touches], changes), _heatmap(distances)]
    notes = ""
    if pictures[0] is None:
        notes += absent("No distance to a center was recorded.")
    if pictures[1] is None:
        notes += absent("No distance between two walkers was recorded, so there is no map of them either.")
    return section("distances", "Distances", grid([picture for picture in pictures if picture]), notes)


def _to_center(rows: pd.DataFrame, changes: list[Mark]) -> Picture | None:
    rows = rows.assign(walker=rows["a"].where(rows["a"] != "center", rows["b"]))
    shown = curves(rows, "walker", "distance")
    if not any(curve.measured for curve in shown):
        return None
    names = [curve.name for curve in shown]
    known = looks(names)
    return line_chart(
        "to-center",
        "Walkers to center",
        UNIT,
        shown,
        [known[name] for name in names],
        scale=_scale(shown),
        caption="How far each walker is from the center.",
        changes=changes,
        entries=legend(names),
    )


def _between(rows: pd.DataFrame, changes: list[Mark]) -> Picture | None:
    shown = curves(rows.assign(pair=rows["a"] + "–" + rows["b"]), "pair", "distance")
    measured = [curve for curve in shown if curve.measured]
    if not measured:
        return None
    finite = rows[np.isfinite(rows["distance"])].groupby("step")["distance"].agg(["mean", "min", "max"])
    steps = finite.index.to_numpy(dtype=np.float64)
    mean, low, high = (Curve(name, steps, finite[name].to_numpy(dtype=np.float64)) for name in ("mean", "min", "max"))
    words, others = "The distance of every pair of walkers.", f"{len(measured)} pairs"
    if len(measured) == 1:
        words, others = f"The distance {measured[0].name}.", "one pair"
    if len(measured) > SEPARATE_PAIRS:
        words, others = f"Mean, nearest and farthest of {len(measured):,} pairs of walkers.", "nearest and farthest"
        shown = [low, high]
    return line_chart(
        "between",
        "Walker to walker",
        UNIT,
        [*shown, mean],
        [Look(HUES[0], 1.0, 0.7)] * len(shown) + [Look(INK, 2.2)],
        scale=_scale(shown),
        caption=words,
        changes=changes,
        entries=[Key("mean of pairs", INK), Key(others, HUES[0])],
    )


def _heatmap(distances: pd.DataFrame) -> Picture | None:
    step = int(distances["step"].max())
    last = distances[distances["step"] == step]
    names = list(dict.fromkeys([*last["a"], *last["b"]]))
    if len(names) < 3 or len(last) < len(names):  # a pair alone is a number; center to walkers alone is a curve
        return None
    place = {name: index for index, name in enumerate(names)}
    matrix = np.full((len(names), len(names)), np.nan)
    for row in last.itertuples():
        i, j = place[str(row.a)], place[str(row.b)]
        matrix[i, j] = matrix[j, i] = row.distance
    matrix[~np.isfinite(matrix)] = np.nan
    if not np.nan_to_num(matrix).max() > 0:  # all in one place, or nowhere: nothing to compare
        return None
    low, high = float(np.nanmin(matrix)), float(np.nanmax(matrix))
    high = high if high > low else low + max(abs(low), 1e-12)
    words = f"Every pair at step {step:,}; empty cells are a point with itself, or not finite."
    return heatmap("heatmap", f"Distances at step {step:,}", UNIT, names, matrix, words, low, high)


def _scale(shown: list[Curve]) -> Scale:
    """Logarithmic where nothing is 0 and more than two decades are spanned, else linear."""
    values = np.concatenate([curve.y[np.isfinite(curve.y)] for curve in shown])
    return "log" if values.min() > 0 and values.max() > 100 * values.min() else "linear"
