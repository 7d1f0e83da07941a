"""Every eigenvalue of a point in one histogram, the outliers marked."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from walkers_dist.report.figure import HUES, INK, chart, log_axis, number, to_svg
from walkers_dist.report.html import Picture, absent, escape, grid, section
from walkers_dist.report.points import UNIT, Point, chosen, latest, left_out
from walkers_dist.report.series import Array

HISTOGRAMS = 4
BINS = 90
ROUNDING = 1e-12
"""times the largest: smaller ones have no sign in double precision."""
OUTLIERS = 12
FLOOR = 0.7
"""Where bars stand on the axis of counts, so that a single eigenvalue is seen; below it are the ticks of outliers."""


def histograms(eigenvalues: pd.DataFrame) -> str:
    """Every eigenvalue of each point's latest full spectrum."""
    full = eigenvalues[(eigenvalues["side"] == "full") & np.isfinite(eigenvalues["eigenvalue"])]
    if full.empty:
        return section("spectrum", "Full spectrum", absent("No full spectrum was computed."))
    points = latest(full)
    drawn = chosen(points, HISTOGRAMS)
    pictures = [_histogram(f"spectrum-{index}", point) for index, point in enumerate(drawn)]
    return section("spectrum", "Full spectrum", grid(pictures), left_out(points, drawn, "eigenvalues"))


def knee(values: Array) -> float:
    """Where the axis turns from linear to logarithmic: a power of ten near the middle size of what is not tiny."""
    size = np.abs(values)
    size = size[size > 1e-12 * size.max()] if size.max() > 0 else np.ones(1)
    exponent = round(math.log10(float(np.median(size))))
    return 10.0 ** max(exponent, math.ceil(math.log10(float(size.max()))) - 6)


def _histogram(name: str, point: Point) -> Picture:
    values = point.rows["eigenvalue"].to_numpy(dtype=np.float64)
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

    below = int((values < -ROUNDING * np.abs(values).max()).sum())
    words = (
        f"{len(values):,} eigenvalues at step {point.step:,}: largest {number(values.max())}, "
        f"smallest {number(values.min())}, "
        f"{below:,} below 0 by more than rounding. Ticks: the {len(outer)} farthest from 0. Counts are logarithmic."
    )
    return Picture(point.title, to_svg(figure, name, escape(f"{point.title}. {words}")), words)
