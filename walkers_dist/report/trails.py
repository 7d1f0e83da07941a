"""Paths on a map: each walker's in its hue with a halo, a small ring at its start, a dot with its name at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from walkers_dist.report.figure import HALO, HUES
from walkers_dist.report.html import Key
from walkers_dist.report.lines import NAMED, legend, looks
from walkers_dist.report.series import Array

LETTER, HEIGHT, AWAY = 7.4, 13.0, 6.0
"""The width and height of a letter, and how far a name stands from its dot, in CSS pixels."""
CLOUD = HUES[1]
"""The colour of many walkers, unlike any of the map's."""
GAP = 4.0
"""Room around a name."""
Box = tuple[float, float, float, float]
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
        u[lost] = v[lost] = off[lost | ~np.isfinite(off)] = np.nan
        found.append(Trail(str(walker), u, v, off))
    return found


def trail_legend(paths: Sequence[Trail]) -> list[Key]:
    names = [path.walker for path in paths]
    return [key._replace(color=CLOUD) if key.label not in names else key for key in legend(names)]


def draw_trails(axes: Axes, paths: Sequence[Trail], tolerance: float, named: bool = True) -> list[str]:
    """Draw the paths, the center's on top; ends farther off the plane than `tolerance` are hollow.

    Returns the walkers whose end lies outside of the map or is not finite.
    """
    known = looks([path.walker for path in paths])
    few = sum(path.walker != "center" for path in paths) <= NAMED
    outside, ends = [], []
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for path in sorted(paths, key=lambda path: path.walker == "center"):
        look, order = known[path.walker], 5.0 if path.walker == "center" else 3.0
        own = few or path.walker == "center"
        look = look if own else replace(look, color=CLOUD, width=0.9, alpha=max(look.alpha, 0.5))
        halo = [withStroke(linewidth=look.width + 2.2, foreground=HALO, alpha=0.8)] if own else []
        (line,) = axes.plot(path.u, path.v, look.dash, color=look.color, linewidth=look.width, alpha=look.alpha)
        line.set(path_effects=halo, solid_capstyle="round", zorder=order)
        start = int(np.isfinite(path.u).argmax())
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
            markeredgewidth=1.8 if hollow else 1.2, markersize=size if own else 3.5, zorder=order + 3,
        )  # fmt: skip
        if own:
            ends.append((path.walker, u, v))
    if named:
        _name(axes, ends, paths)
    return outside


def _name(axes: Axes, ends: Sequence[tuple[str, float, float]], paths: Sequence[Trail]) -> None:
    """Write each name beside its dot, where it covers no other name or dot, and as little of the paths as can be."""
    box = axes.get_window_extent()
    scale = 72 / axes.figure.dpi
    width, height = box.width * scale, box.height * scale
    to_box = axes.transData + axes.transAxes.inverted()

    def pixels(u: Array, v: Array) -> Array:
        return np.asarray(to_box.transform(np.column_stack([u, v])) * (width, height))

    along = np.linspace(0, 1, 12)[:, None]
    lines = [pixels(path.u, path.v) for path in paths]
    parts = [a + along * (b - a) for line in lines for a, b in pairwise(line)]
    ink = np.concatenate(parts) if parts else np.empty((0, 2))
    dots = [pixels(np.array([u]), np.array([v]))[0] for _, u, v in ends]
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in dots]
    for (name, u, v), (x, y) in sorted(zip(ends, dots, strict=True), key=lambda end: end[0][0] != "center"):
        place = free_place(float(x), float(y), LETTER * len(name), taken, ink, (width, height))
        if place is None:
            continue
        taken.append(place)
        offset = (place[0] - x + GAP / 2, (place[1] + place[3]) / 2 - y)
        text = axes.annotate(name, (u, v), offset, "data", "offset points", va="center", fontsize=11, zorder=12)
        text.set_fontweight("bold" if name == "center" else "normal")


def free_place(
    x: float, y: float, length: float, taken: Sequence[Box], ink: Array, size: tuple[float, float]
) -> Box | None:
    """The box of a text beside (x, y), inside a map of this size and over none of the boxes `taken`; None: no room.

    Of the nearest ones it is the one that covers the fewest of the points `ink: [n, 2]`.
    """
    wide, (width, height) = length + GAP, size
    for away in (AWAY, 2 * AWAY, 3.5 * AWAY):
        found: list[tuple[int, Box]] = []
        for right, up in SIDES:
            at_x, at_y = x + right * (away + wide / 2), y + up * (away + HEIGHT / 2)
            box = (at_x - wide / 2, at_y - HEIGHT / 2, at_x + wide / 2, at_y + HEIGHT / 2)
            inside = box[0] >= 2 and box[1] >= 2 and box[2] <= width - 2 and box[3] <= height - 2
            if inside and not any(_meet(box, other) for other in taken):
                found.append((_covered(box, ink), box))
        if found:
            return min(found, key=lambda one: one[0])[1]
    return None


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _covered(box: Box, ink: Array) -> int:
    if not ink.size:
        return 0
    x, y = ink.T
    return int(((x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])).sum())
