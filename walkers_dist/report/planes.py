"""The surface on a plane as a contour map, with the walkers' paths and the center's on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from walkers_dist.probes.plane import explained
from walkers_dist.report.contours import Levels, Map, colour_bar, fill, frame, levels_of, map_of
from walkers_dist.report.figure import to_svg
from walkers_dist.report.html import Picture, absent, escape, grid, heading, section
from walkers_dist.report.lines import listed
from walkers_dist.report.series import spread
from walkers_dist.report.trails import Trail, draw_trails, trail_legend, trails

BEFORE = 3
"""Earlier steps that are shown."""
LARGE, SMALL = 380.0, 250.0
"""How wide the map itself may be, in CSS pixels."""
WORDS = {
    "train_loss": "Training loss",
    "test_loss": "Test loss",
    "train_accuracy": "Training accuracy",
    "test_accuracy": "Test accuracy",
}
MAPS = (("train_loss",), ("test_loss", "train_accuracy"))
"""Of each the first that was measured is drawn."""


@dataclass(frozen=True)
class Plane:
    """One plane at one step: the rows of its grid, and the paths beside it."""

    step: int
    name: str
    rows: pd.DataFrame
    paths: list[Trail]


def planes(grids: pd.DataFrame, points: pd.DataFrame) -> str:
    """The section: each kind of plane at its latest step, and how it looked before."""
    if grids.empty:
        return ""
    kinds: dict[str, list[Plane]] = {}
    for (step, name), rows in grids.groupby(["step", "plane"], sort=False):
        own = points[(points["step"] == step) & (points["plane"] == name)]
        kinds.setdefault(str(name), []).append(Plane(int(step), str(name), rows, trails(own)))
    parts = [
        _of_kind(f"plane-{index}", sorted(found, key=lambda plane: plane.step))
        for index, found in enumerate(kinds.values())
    ]
    return section("planes", "The surface around the walkers", *parts)


def off_plane(paths: Sequence[Trail]) -> tuple[float, str] | None:
    """The largest distance off the plane, and whose point it is; None where none is known."""
    far = [(float(np.nanmax(path.off)), path.walker) for path in paths if np.isfinite(path.off).any()]
    return max(far) if far else None


def _of_kind(name: str, found: Sequence[Plane]) -> str:
    last = found[-1]
    pictures: list[Picture] = []
    flat: list[str] = []
    for columns in MAPS:
        for column in columns:
            surface = map_of(last.rows, column)
            if surface is None:
                continue
            levels = levels_of(surface, logarithmic=column.endswith("loss"))
            if levels is None:
                flat.append(WORDS[column].lower())
                continue
            pictures.append(_picture(f"{name}-{column.replace('_', '-')}", last, column, surface, levels))
            break
    note = absent(f"There is no map of the {listed(flat)}: it is the same everywhere.") if flat else ""
    if not pictures and not flat:
        note = absent("There is no map: the plane has fewer than two by two points, or nothing on it is finite.")
    return (
        heading(f"Plane {last.name}, step {last.step:,}", _sentence(last))
        + grid(pictures)
        + note
        + _before(name, found)
    )


def _before(name: str, found: Sequence[Plane]) -> str:
    """The training loss at some earlier steps, each in levels of its own: shapes are compared, not heights."""
    pictures = [
        _picture(f"{name}-before-{index}", plane, "train_loss", surface, levels, small=True)
        for index, plane in enumerate(found[i] for i in spread(len(found) - 1, BEFORE))
        if (surface := map_of(plane.rows, "train_loss")) and (levels := levels_of(surface, logarithmic=True))
    ]
    if not pictures:
        return ""
    return heading("Training loss before", "Each map has levels of its own.") + grid(pictures, small=True)


def _sentence(plane: Plane) -> str:
    """What is true of both maps: what u and v are, and how far off the plane the points are."""
    said = ["u and v are distances in parameter space, in the same unit.", _explained(plane)]
    if not plane.paths:
        return f"{said[0]} No path was recorded beside this plane."
    far = off_plane(plane.paths)
    if far is None:
        said.append("How far the points are off the plane is not known.")
    elif far[0] < 1e-6 * _across(plane.rows):
        said.append("Every point of the paths lies in the plane.")
    else:
        hollow = any(path.off[-1] > 1e-6 * _across(plane.rows) for path in plane.paths)
        said.append(
            f"Paths are projected onto the plane; the farthest point is {far[0]:.3g} off it ({far[1]})."
            + (" Hollow ends lie off the plane." if hollow else " Their ends lie in the plane.")
        )
    return " ".join(sentence for sentence in said if sentence)


def _explained(plane: Plane) -> str:
    """How much of the variance the two directions hold, where they were chosen to hold most."""
    rows = [row for path in plane.paths for row in zip(path.u, path.v, path.off, strict=True) if np.isfinite(row).all()]
    if plane.name != "principal" or not np.any(rows):
        return ""
    first, second = explained(rows)
    return f"The two directions hold {100 * first:.1f} % and {100 * second:.1f} % of the variance of the paths."


def _across(rows: pd.DataFrame) -> float:
    """The length of the map's diagonal."""
    return float(np.hypot(np.ptp(rows["u"]), np.ptp(rows["v"])))


def _picture(name: str, plane: Plane, column: str, surface: Map, levels: Levels, small: bool = False) -> Picture:
    """A map with its colour bar and the paths; a small one has no names."""
    figure, axes, bar = frame(surface, SMALL if small else LARGE)
    fill(axes, surface, levels)
    outside = draw_trails(axes, plane.paths, tolerance=1e-6 * _across(plane.rows), named=not small)
    colour_bar(bar, levels, WORDS[column].lower())
    said = []
    if surface.missing:
        said.append(f"{surface.missing:,} of {surface.z.size:,} grid points are not finite: left empty.")
    if levels.cut and not small:
        said.append(f"Above {levels.edges[-1]:.3g} all is one colour; the highest is {surface.highest:.3g}.")
    if outside and not small:
        said.append(f"Outside of the map, or not finite: {listed(outside)}.")
    words = " ".join(said)
    title = f"Step {plane.step:,}" if small else WORDS[column]
    keys = () if small else trail_legend(plane.paths)
    label = f"{WORDS[column]} on the plane {plane.name} at step {plane.step}. {words}"
    return Picture(title, to_svg(figure, name, escape(label)), words, keys)
