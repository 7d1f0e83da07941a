"""Paths on a map: each walker's in its hue with a halo, a small ring at its start, a dot with its name at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from walkers_dist.report.figure import HALO
from walkers_dist.report.lines import NAMED, looks
from walkers_dist.report.series import Array

LETTER, HEIGHT, AWAY = 6.6, 12.0, 7.0
"""The width and height of a letter, and how far a name stands from its dot, in CSS pixels."""
SIDES = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]


@dataclass(frozen=True)
class Trail:
    """Where a walker was on the map, in order of steps, and how far `off` the plane; each [n]."""

    walker: str
    u: Array
    v: Array
    off: Array


def trails(points: pd.DataFrame) -> list[Trail]:
    """The path of every walker in the rows of one plane; points that are not finite are gaps."""
    found = []
    for walker, rows in points.groupby("walker", sort=False):
        u, v, off = (rows[column].to_numpy(dtype=np.float64, copy=True) for column in ("u", "v", "distance"))
        lost = ~(np.isfinite(u) & np.isfinite(v))
        u[lost] = v[lost] = off[lost] = np.nan
        if not lost.all():
            found.append(Trail(str(walker), u, v, off))
    return found


def draw_trails(axes: Axes, paths: Sequence[Trail], tolerance: float, named: bool = True) -> list[str]:
    """Draw the paths, the center's on top; ends farther off the plane than `tolerance` are hollow.

    Returns the walkers whose end lies outside of the map or is not finite.
    """
    known = looks([path.walker for path in paths])
    few = len(paths) <= NAMED + 1
    outside, ends = [], []
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for path in sorted(paths, key=lambda path: path.walker == "center"):
        look, order = known[path.walker], 5.0 if path.walker == "center" else 3.0
        alpha = look.alpha if few else max(look.alpha, 0.5)
        width = look.width if few else 0.9
        halo = [withStroke(linewidth=width + 2.2, foreground=HALO, alpha=0.8)] if few else []
        axes.plot(
            path.u, path.v, look.dash, color=look.color, linewidth=width, alpha=alpha, path_effects=halo, zorder=order,
            solid_capstyle="round",
        )  # fmt: skip
        start = int(np.flatnonzero(np.isfinite(path.u))[0])
        axes.plot(path.u[start], path.v[start], "o", color=HALO, markeredgecolor=look.color, markersize=3.6,
                  markeredgewidth=1.1, zorder=order)  # fmt: skip
        u, v = float(path.u[-1]), float(path.v[-1])
        if not (left <= u <= right and low <= v <= high):
            outside.append(path.walker)
            continue
        hollow = bool(path.off[-1] > tolerance)
        size = 8.0 if path.walker == "center" else 10.0 if hollow else 7.0
        axes.plot(
            u, v, "o", color=HALO if hollow else look.color, markeredgecolor=look.color if hollow else HALO,
            markeredgewidth=1.8 if hollow else 1.2, markersize=size if few else 3.5, zorder=order + 3,
        )  # fmt: skip
        if few or path.walker == "center":
            ends.append((path.walker, u, v))
    if named:
        _name(axes, ends)
    return outside


def _name(axes: Axes, ends: Sequence[tuple[str, float, float]]) -> None:
    """Write each name beside its dot, where it covers neither another name, nor a dot, nor the frame."""
    box = axes.get_window_extent()
    scale = 72 / axes.figure.dpi
    width, height = box.width * scale, box.height * scale
    spots = [axes.transAxes.inverted().transform(axes.transData.transform((u, v))) for _, u, v in ends]
    dots = [(x * width, y * height) for x, y in spots]
    taken: list[tuple[float, float, float, float]] = [(x - 5, y - 5, x + 5, y + 5) for x, y in dots]
    for (name, u, v), (x, y) in sorted(zip(ends, dots, strict=True), key=lambda end: end[0][0] != "center"):
        place = free_place(x, y, LETTER * len(name), taken, width, height)
        if place is None:
            continue
        taken.append(place)
        offset = (place[0] - x, (place[1] + place[3]) / 2 - y)
        text = axes.annotate(name, (u, v), offset, "data", "offset points", va="center", fontsize=11, zorder=12)
        text.set_fontweight("bold" if name == "center" else "normal")


def free_place(
    x: float, y: float, length: float, taken: Sequence[tuple[float, float, float, float]], width: float, height: float
) -> tuple[float, float, float, float] | None:
    """The box of a text beside (x, y), inside `width` by `height`, over none of the boxes `taken`; None: no room."""
    for away, (right, up) in product((AWAY, 2 * AWAY, 3.5 * AWAY), SIDES):
        middle_x, middle_y = x + right * (away + length / 2) * (1 if right else 0), y + up * (away + HEIGHT / 2)
        box = (middle_x - length / 2, middle_y - HEIGHT / 2, middle_x + length / 2, middle_y + HEIGHT / 2)
        inside = box[0] >= 2 and box[1] >= 2 and box[2] <= width - 2 and box[3] <= height - 2
        if inside and all(
            box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1] for other in taken
        ):
            return box
    return None
