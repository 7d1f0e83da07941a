"""A function on a grid as a filled contour map: its levels, its colours, its frame of equal units, its colour bar.

Values are those of the table: nothing is smoothed, replaced or moved, and where one is not finite the map is empty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from walkers_dist.report.figure import BOTTOM, INK, LEFT, TOP, chart, number, real_axis
from walkers_dist.report.series import Array

COLOURS = LinearSegmentedColormap.from_list(
    "depth", ["#fbf7e6", "#e2ecd0", "#b9dcc8", "#86c5c4", "#56a8bf", "#3585b2", "#2a629d", "#2b417d", "#251f55"]
)
"""From pale to dark, lightness falling evenly; a dark page turns it over (style.css), so that low stays quiet."""
LINE = "#11303c"
LEVELS = 16
DECADES = 0.5
"""From so many decades on, levels of a loss are spaced in its logarithm."""
CUT = 1e3
"""So many times above the median the map ends, lest a corner far up takes all its colours."""
SHARP = 180.0
"""Dots per inch of the filled map, which is an image; a CSS pixel is 1/72 inch here."""
RIGHT = 88.0
"""Room for the bar and its words, right of the map."""
SHORTEST = 128.0
"""The least height of the bar, so that its words fit, in CSS pixels."""
TALLEST = 1.05
"""A map higher than so many times its greatest width is made narrower."""


@dataclass(frozen=True)
class Map:
    """`z[j, i]` is the value at (u[i], v[j]), NaN where it is not finite."""

    u: Array
    v: Array
    z: Array

    @property
    def missing(self) -> int:
        return int(np.isnan(self.z).sum())

    @property
    def highest(self) -> float:
        return float(np.nanmax(self.z))


@dataclass(frozen=True)
class Levels:
    """Where one colour ends and the next begins, ascending; `cut`: there are values above the last."""

    edges: Array
    logarithmic: bool
    cut: bool


def map_of(rows: pd.DataFrame, column: str) -> Map | None:
    """The grid of one plane; None where it is no grid, or nothing of this column is finite."""
    wide = rows.drop_duplicates(["u", "v"], keep="last").pivot(index="v", columns="u", values=column)
    wide = wide.loc[np.isfinite(wide.index), np.isfinite(wide.columns)]
    z = wide.to_numpy(dtype=np.float64, copy=True)
    z[~np.isfinite(z)] = np.nan
    if min(z.shape) < 2 or not np.isfinite(z).any():
        return None
    return Map(wide.columns.to_numpy(dtype=np.float64), wide.index.to_numpy(dtype=np.float64), z)


def levels_of(surface: Map, logarithmic: bool) -> Levels | None:
    """Round levels that span the map, evenly in the value or, where that says more, in its logarithm.

    None where all values are the same.
    """
    values = surface.z[np.isfinite(surface.z)]
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return None
    top = min(high, CUT * float(np.median(values))) if low > 0 and logarithmic else high
    if logarithmic and low > 0 and top > 10**DECADES * low:
        per_decade = next((n for n in (32, 24, 16, 12, 8, 6, 4, 3, 2, 1) if n * np.log10(top / low) <= LEVELS), 1)
        first, last = np.floor(np.log10(low) * per_decade), np.ceil(np.log10(top) * per_decade)
        edges = 10 ** (np.arange(first, last + 1) / per_decade)
        return Levels(edges, True, bool(high > edges[-1]))
    even = np.asarray(MaxNLocator(LEVELS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, top), dtype=np.float64)
    return Levels(even, False, bool(high > even[-1]))


def frame(surface: Map, widest: float) -> tuple[Figure, Axes, Axes]:
    """Empty axes as large as `widest` CSS pixels allow, a unit of u as long as one of v; and a place for the bar."""
    across, up = float(np.ptp(surface.u)), float(np.ptp(surface.v))
    width = min(widest, TALLEST * widest * across / up)
    height = width * up / across
    tall = max(height, SHORTEST)
    size = (LEFT + widest + RIGHT, TOP + tall + BOTTOM)
    figure, axes = chart("u", "v", size=size)
    figure.dpi = SHARP
    left = LEFT + (widest - width) / 2
    axes.set_position((left / size[0], (BOTTOM + (tall - height) / 2) / size[1], width / size[0], height / size[1]))
    real_axis(axes, surface.u, ticks=6 if width > 200 else 4)
    axes.set_xlim(surface.u[0], surface.u[-1])
    axes.set_ylim(surface.v[0], surface.v[-1])
    axes.yaxis.set_major_locator(MaxNLocator(int(min(6, max(height // 32, 1))), steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(number))
    axes.grid(False)
    place = ((left + width + 16) / size[0], BOTTOM / size[1], 14 / size[0], tall / size[1])
    return figure, axes, figure.add_axes(place)


def fill(axes: Axes, surface: Map, levels: Levels) -> None:
    """The map itself, as an image: its size does not grow with the roughness of the surface."""
    axes.set_rasterization_zorder(0)
    norm, z = BoundaryNorm(levels.edges, COLOURS.N), np.ma.masked_invalid(surface.z)
    axes.contourf(
        surface.u, surface.v, z, levels=levels.edges, norm=norm, cmap=COLOURS, antialiased=False, zorder=-2,
        extend="max" if levels.cut else "neither",
    )  # fmt: skip
    axes.contour(
        surface.u,
        surface.v,
        z,
        levels=levels.edges,
        colors=[LINE],
        alpha=0.28,
        linewidths=0.6,
        zorder=-1,
        antialiased=False,
    )


def colour_bar(bar: Axes, levels: Levels, label: str) -> None:
    """The bands as they follow each other, round values beside them."""
    count = len(levels.edges) - 1
    norm = BoundaryNorm(levels.edges, COLOURS.N)
    middles = (levels.edges[1:] + levels.edges[:-1]) / 2
    bar.imshow(COLOURS(norm(middles))[::-1, None], aspect="auto", extent=(0, 1, 0, count), interpolation="none")
    room = bar.get_window_extent().height * 72 / bar.figure.dpi
    most = min(9, int(room // 22))
    stride = max(1, -(-count // most))
    places = [float(k) for k in range(0, count + 1, stride)]
    values = [float(levels.edges[int(k)]) for k in places]
    if levels.logarithmic:
        values = _round_values(float(levels.edges[0]), float(levels.edges[-1]), most)
        places = [float(k) for k in np.interp(np.log(values), np.log(levels.edges), np.arange(count + 1))]
    bar.set_xticks([])
    bar.yaxis.tick_right()
    bar.yaxis.set_label_position("right")
    bar.set_yticks(places, [number(float(f"{value:.6g}")) for value in values])
    bar.set_ylabel(label + (" (logarithmic)" if levels.logarithmic and room > 180 else ""))
    bar.spines[:].set_visible(False)
    bar.tick_params(length=3, color=INK)


def _round_values(low: float, high: float, most: int) -> list[float]:
    """1, 2 and 5 times the powers of ten from `low` to `high`; 1 and 3 times, or powers alone, where those are many.

    Round values of any kind where they are hardly any.
    """
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    for times in ((1, 2, 5), (1, 3), (1,)):
        values = [m * 10.0**k for k in range(first, last + 1) for m in times]
        values = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(values) <= most:
            break
    if len(values) < 3:
        return [float(value) for value in MaxNLocator(most - 1).tick_values(low, high) if low <= value <= high]
    return values[:: -(-len(values) // most)]
