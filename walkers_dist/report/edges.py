"""The outermost eigenvalues over steps, and beside the largest the bound at which steps become unstable."""

from __future__ import annotations

import numpy as np
import pandas as pd

from walkers_dist.report.changes import Mark
from walkers_dist.report.figure import INK, number
from walkers_dist.report.html import Key, Picture, absent, grid, section
from walkers_dist.report.lines import Look, legend, line_chart, looks
from walkers_dist.report.points import NAMES, UNIT
from walkers_dist.report.series import Curve, curves
from walkers_dist.report.stability import Limit

SIDES = {"top": "Largest", "bottom": "Smallest"}
NOTHING = 1e-6
"""An edge so many times smaller than the other one is zero up to rounding."""
FAR = {"log": 100.0, "linear": 3.0}
"""The bound is drawn where it is at most so many times the largest eigenvalue; farther off it would flatten them."""
BOUND = Look(INK, 1.3, 0.75, "--")


def edges(eigenvalues: pd.DataFrame, changes: list[Mark], limit: Limit | None = None) -> str:
    """Top and bottom eigenvalues over steps; rank 1 is the strongest line."""
    outer = eigenvalues[eigenvalues["side"].isin(list(SIDES))]
    pictures: list[Picture] = []
    zero: list[str] = []
    for matrix, both in outer.groupby("matrix", sort=False):
        largest = float(both.loc[np.isfinite(both["eigenvalue"]), "eigenvalue"].abs().max())
        for side, rows in both.groupby("side", sort=False):
            size = float(rows.loc[np.isfinite(rows["eigenvalue"]), "eigenvalue"].abs().max())
            if size <= NOTHING * largest:
                zero.append(f"The {SIDES[str(side)].lower()} eigenvalues of the {NAMES.get(str(matrix), matrix)}")
            elif np.isfinite(size):
                bound = limit if matrix == "hessian" and side == "top" else None
                pictures.append(_edge(f"edge-{len(pictures)}", str(matrix), str(side), rows, changes, bound))
    note = "".join(absent(f"{words} are 0 up to rounding.") for words in zero)
    body = grid(pictures) + note or absent("No outer eigenvalue was computed.")
    return section("edges", "Edges of the spectrum", body)


def _edge(name: str, matrix: str, side: str, rows: pd.DataFrame, changes: list[Mark], limit: Limit | None) -> Picture:
    names, ranks = list(dict.fromkeys(rows["walker"])), int(rows["rank"].max())
    known = looks(names)
    shown = curves(rows.assign(line=rows["walker"] + " #" + rows["rank"].astype(str)), "line", "eigenvalue")
    styles = []
    for curve in shown:
        who, rank = curve.name.rsplit(" #", 1)
        fade = 1 - 0.7 * (int(rank) - 1) / max(ranks - 1, 1)
        styles.append(Look(known[who].color, 1.9 if rank == "1" else 1.2, fade * known[who].alpha, known[who].dash))
    values = np.concatenate([curve.y[np.isfinite(curve.y)] for curve in shown])
    scale = "log" if values.min() > 0 else "linear"
    words = [f"The {ranks} {SIDES[side].lower()} of each point; the outermost is the strongest line."]
    entries = legend(names)
    if limit is not None:
        bound = limit.curve(float(rows["step"].min()), float(rows["step"].max()))
        words.append(_meaning(limit))
        if float(bound.y.max()) <= FAR[scale] * float(values.max()):
            shown, styles = [*shown, bound], [*styles, BOUND]
            entries = [*entries, Key(limit.formula, INK, dashed=True)]
        else:
            words.append(f"Here it is far above: {_span(bound)}.")
    return line_chart(
        name,
        f"{SIDES[side]} eigenvalues of the {NAMES.get(matrix, matrix)}",
        UNIT,
        shown,
        styles,
        scale=scale,  # type: ignore[arg-type]
        caption=" ".join(words),
        changes=changes,
        entries=entries,
        alike=False,
    )


def _meaning(limit: Limit) -> str:
    momentum = ", m the momentum" if "m)" in limit.formula else ""
    return (
        f"Above {limit.formula}{momentum}, full-gradient steps of this size swing ever wider "
        "along the eigenvector; below it they settle."
    )


def _span(bound: Curve) -> str:
    low, high = float(bound.y.min()), float(bound.y.max())
    return number(low) if low == high else f"{number(low)} to {number(high)}"
