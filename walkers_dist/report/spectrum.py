"""Curvature in pictures: the outermost eigenvalues over steps, and all eigenvalues with their outliers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from walkers_dist.report.changes import Mark
from walkers_dist.report.figure import HUES, INK, chart, log_axis, number, to_svg
from walkers_dist.report.html import Picture, absent, escape, grid, section
from walkers_dist.report.lines import Look, legend, line_chart, listed, looks
from walkers_dist.report.series import Array, curves

UNIT = "eigenvalue (loss / parameter²)"
SIDES = {"top": "Largest", "bottom": "Smallest"}
HISTOGRAMS = 4
BINS = 90
OUTLIERS = 12
FLOOR = 0.7
"""Where bars stand on the axis of counts, so that a single eigenvalue is seen; below it are the ticks of outliers."""
NAMES = {"hessian": "Hessian", "ggn": "Gauss-Newton matrix", "residual": "residual"}


def edges(eigenvalues: pd.DataFrame, changes: list[Mark]) -> str:
    """Top and bottom eigenvalues over steps; rank 1 is the strongest line."""
    pictures: list[Picture] = []
    for (matrix, side), rows in eigenvalues.groupby(["matrix", "side"], sort=False):
        if side not in SIDES:
            continue
        names, ranks = list(dict.fromkeys(rows["walker"])), int(rows["rank"].max())
        known = looks(names)
        shown = curves(rows.assign(line=rows["walker"] + " #" + rows["rank"].astype(str)), "line", "eigenvalue")
        if not any(curve.measured for curve in shown):
            continue
        styles = []
        for curve in shown:
            who, rank = curve.name.split(" #")
            fade = 1 - 0.7 * (int(rank) - 1) / max(ranks - 1, 1)
            styles.append(Look(known[who].color, 1.9 if rank == "1" else 1.2, fade * known[who].alpha, known[who].dash))
        low = min(float(np.nanmin(curve.y)) for curve in shown if curve.measured)
        pictures.append(
            line_chart(
                f"edge-{len(pictures)}",
                f"{SIDES[str(side)]} eigenvalues of the {NAMES.get(str(matrix), matrix)}",
                UNIT,
                shown,
                styles,
                scale="log" if low > 0 else "linear",
                caption=f"The {ranks} {SIDES[str(side)].lower()} of each point; the outermost is the strongest line.",
                changes=changes,
                entries=legend(names),
                alike=False,
            )
        )
    body = grid(pictures) or absent("No outer eigenvalue was computed.")
    return section("edges", "Edges of the spectrum", body)


def histograms(eigenvalues: pd.DataFrame) -> str:
    """Every eigenvalue of each point's latest full spectrum."""
    full = eigenvalues[(eigenvalues["side"] == "full") & np.isfinite(eigenvalues["eigenvalue"])]
    if full.empty:
        return section("spectrum", "Full spectrum", absent("No full spectrum was computed."))
    points = ["matrix", "walker"]
    latest = full[full["step"] == full.groupby(points)["step"].transform("max")]
    groups = list(latest.groupby([*points, "step"], sort=False)["eigenvalue"])
    pictures = [
        _histogram(f"spectrum-{index}", str(matrix), str(walker), int(step), values.to_numpy())
        for index, ((matrix, walker, step), values) in enumerate(groups[:HISTOGRAMS])
    ]
    rest = [f"{walker} ({matrix})" for (matrix, walker, _), _ in groups[HISTOGRAMS:]]
    note = absent(f"Also in eigenvalues.csv: {listed(rest)}.") if rest else ""
    return section("spectrum", "Full spectrum", grid(pictures), note)


def knee(values: Array) -> float:
    """Where the axis turns from linear to logarithmic: a power of ten near the middle size of what is not tiny."""
    size = np.abs(values)
    size = size[size > 1e-12 * size.max()] if size.max() > 0 else np.ones(1)
    exponent = round(math.log10(float(np.median(size))))
    return 10.0 ** max(exponent, math.ceil(math.log10(float(size.max()))) - 6)


def _histogram(name: str, matrix: str, walker: str, step: int, values: Array) -> Picture:
    around = knee(values)

    def bend(value: Array | float) -> Array:
        size = np.abs(value) / around
        return np.sign(value) * np.where(size <= 1, size, 1 + np.log10(np.maximum(size, 1)))

    bent = bend(values)
    low, high = min(float(bent.min()), 0.0), max(float(bent.max()), 0.0)
    room = 0.03 * (high - low) or 1.0
    cells = np.linspace(low - room / 3, high + room / 3, BINS + 1)
    counts, _ = np.histogram(bent, cells)
    outer = np.argsort(-np.abs(values))[:OUTLIERS]

    figure, axes = chart(f"{UNIT}, linear within ±{number(around)}", "number of eigenvalues")
    axes.stairs(np.maximum(counts, FLOOR), cells, baseline=FLOOR, fill=True, color=HUES[0], linewidth=0)
    axes.plot(bent[outer], np.full(len(outer), 0.6), "|", color=HUES[1], markersize=8, markeredgewidth=1.5)
    log_axis(axes, FLOOR, max(float(counts.max()), 2.0))
    axes.set_ylim(bottom=0.52)
    axes.set_xlim(low - room, high + room)
    axes.axvline(0, color=INK, alpha=0.4, linewidth=0.8, zorder=1)
    decades = math.ceil(max(high, -low))
    stride = max(1, -(-decades // 4))
    sizes = [around * 10.0**k for k in range(0, decades, stride)]
    ticks = [t for t in (*(-s for s in sizes), 0.0, *sizes) if low - room <= float(bend(t)) <= high + room]
    axes.set_xticks([float(bend(t)) for t in ticks], [number(t) for t in ticks])

    below = int((values < 0).sum())
    words = (
        f"{len(values):,} eigenvalues at step {step:,}: largest {number(values.max())}, "
        f"smallest {number(values.min())}, "
        f"{below:,} below 0. Ticks: the {len(outer)} farthest from 0. Counts are logarithmic."
    )
    title = f"{NAMES.get(matrix, matrix)} of {walker} at step {step:,}"
    return Picture(title, to_svg(figure, name, escape(words)), words)
