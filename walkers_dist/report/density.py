"""Densities of spectra: how many eigenvalues there are of each size and sign, at the latest step and over steps."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from walkers_dist.report.figure import HUES, INK, chart, log_axis, number, to_svg
from walkers_dist.report.html import Key, Picture, absent, escape, grid, section
from walkers_dist.report.points import UNIT, Point, chosen, latest, left_out, named
from walkers_dist.report.series import Array, spread

PICTURES, OVERLAID = 4, 5
"""So many points are drawn; over steps one of each matrix, at so many steps."""
SIGMA, SIGMA_OVER_STEPS = 0.1, 0.2
"""Width of the Gaussians that smooth, in decades."""
GRID = 40
"""Places per decade."""
DECADES = 8
"""Below the largest eigenvalue, at most; what is smaller counts as 0."""
NEGLIGIBLE, AGREE = 1e-10, 1e-3
"""Nodes of less weight are copies of others by rounding; probes agree on one if they differ by less than this part."""
BESIDE = 0.1
"""A tick that is nearer to 0 than this part of the axis would touch its number."""
MIDDLE = 0.25
"""Half the width of the strip around 0 that is not resolved, in the widths of a decade."""
SHALLOW = 1e-7
"""A part of the highest place: the axis goes no deeper."""
FAINTEST = 0.3


class Side(NamedTuple):
    """The density over decades of |lambda| on one side of 0: places log10 |lambda|, mean and error over probes, [n]."""

    decades: Array
    mean: Array
    error: Array


class Smooth(NamedTuple):
    """`negative, positive` from `floor` (in decades) outwards; `small`: the share that is closer to 0."""

    negative: Side
    positive: Side
    floor: float
    small: float


def place(sign: int | Array, decades: Array, floor: float) -> Array:
    """Where log10 |lambda| is on the axis: outwards from a strip around 0, in which it is less than `floor`."""
    return sign * (decades - floor + MIDDLE)


def densities(density: pd.DataFrame, eigenvalues: pd.DataFrame) -> str:
    """Each point's latest density with its error; and how it changed, of one point of each matrix."""
    if density.empty:
        return ""
    finite = density[np.isfinite(density["node"]) & np.isfinite(density["weight"])]
    points = latest(finite)
    if not points:
        return section("density", "Density of the spectrum", absent("No density is finite."))
    drawn = chosen(points, PICTURES)
    pictures = [_latest(f"density-{index}", point, eigenvalues) for index, point in enumerate(drawn)]
    for matrix in dict.fromkeys(point.matrix for point in drawn):
        point = next(point for point in drawn if point.matrix == matrix)
        of = finite[(finite["matrix"] == matrix) & (finite["walker"] == point.walker)]
        if of["step"].nunique() > 1:
            pictures.append(_over_steps(f"densities-{len(pictures)}", point, of))
    return section("density", "Density of the spectrum", grid(pictures), left_out(points, drawn, "density"))


def smooth(rows: pd.DataFrame, sigma: float = SIGMA) -> Smooth:
    """The density of the rows of one point at one step, per decade of |lambda|, on both sides of 0."""
    import torch

    from walkers_dist.curvature.density import Density

    nodes, weights = by_probe(rows)
    size = np.abs(nodes)
    floor = resolved(nodes, weights)

    def side(sign: int) -> Side:
        inside = (sign * nodes > 10.0**floor) & (weights > NEGLIGIBLE)
        end = math.log10(float(size[inside].max())) + 4 * sigma if inside.any() else floor
        decades = np.arange(floor, end + 1 / GRID, 1 / GRID)
        known = torch.from_numpy(np.where(inside, size, 1.0)), torch.from_numpy(np.where(inside, weights, 0.0))
        mean, error = Density(*known, torch.zeros(nodes.shape)).smoothed(torch.from_numpy(decades), sigma, log=True)
        return Side(decades, mean.numpy(), error.numpy())

    return Smooth(side(-1), side(1), floor, float((weights * (size <= 10.0**floor)).sum() / weights.sum()))


def by_probe(rows: pd.DataFrame) -> tuple[Array, Array]:
    """Nodes and weights [probes, most nodes]; a probe with fewer of them has zeros, which weigh nothing."""
    probe = rows["probe"].rank(method="dense").to_numpy(dtype=int) - 1
    place = rows.groupby("probe").cumcount().to_numpy(dtype=int)
    nodes = np.zeros((probe.max() + 1, place.max() + 1))
    weights = np.zeros_like(nodes)
    nodes[probe, place], weights[probe, place] = rows["node"], rows["weight"]
    return nodes, weights


def resolved(nodes: Array, weights: Array) -> float:
    """From which log10 |lambda| on nodes mean something.

    The node nearest to 0 stands for all eigenvalues up to its neighbours, wherever they are, unless the probes agree
    on it: so what is nearer to 0 than the second is not resolved.
    """
    probes = [row[weight > NEGLIGIBLE] for row, weight in zip(nodes, weights, strict=True)]
    probes = [row[np.argsort(np.abs(row))] for row in probes]
    first = np.array([row[0] for row in probes])
    lowest = float(np.median([abs(row[min(1, len(row) - 1)]) for row in probes]))
    if len(probes) > 1 and np.ptp(first) <= AGREE * np.abs(first).min():
        lowest = float(np.abs(first).min()) / 2
    top = float(np.abs(nodes).max()) or 1.0
    lowest = max(lowest, top * 10.0**-DECADES)
    return math.log10(_below(lowest))


def _below(value: float) -> float:
    """The greatest number of one digit, one that can be said, below a positive `value`."""
    power = 10.0 ** math.floor(math.log10(value))
    digit = math.ceil(value / power * (1 - 1e-9)) - 1
    return digit * power if digit else 0.9 * power


def _latest(name: str, point: Point, eigenvalues: pd.DataFrame) -> Picture:
    found = smooth(point.rows)
    figure, axes = chart(UNIT, "share of eigenvalues per decade")
    _axes(axes, [found])
    for sign, side, color in ((-1, found.negative, HUES[1]), (1, found.positive, HUES[0])):
        x = place(sign, side.decades, found.floor)
        axes.fill_between(x, side.mean - side.error, side.mean + side.error, color=color, alpha=0.25, linewidth=0)
        axes.plot(x, side.mean, color=color, linewidth=1.6)
    if found.small > 0:
        axes.text(0.0, 1.01, _percent(found.small), transform=axes.get_xaxis_transform(), ha="center", va="bottom")
    same = (eigenvalues["matrix"] == point.matrix) & (eigenvalues["walker"] == point.walker)
    outer = eigenvalues[same & (eigenvalues["step"] == point.step) & eigenvalues["side"].isin(["top", "bottom"])]
    edges = outer["eigenvalue"].to_numpy(dtype=np.float64)
    edges = edges[np.isfinite(edges) & (np.abs(edges) > 10.0**found.floor)]
    places = place(np.sign(edges), np.log10(np.abs(edges)), found.floor)
    axes.plot(places, np.full(len(places), 0.03), "|", color=INK, markersize=9, transform=axes.get_xaxis_transform())
    probes = point.rows["probe"].nunique()
    words = [f"{probes} probes of {len(point.rows) // probes} steps, smoothed over {number(SIGMA)} decades"]
    words.append("; band: the standard error over probes." if probes > 1 else ".")
    if found.small > 0:
        nearer = f"closer to 0 than {number(10.0**found.floor)}, where nodes are too few to say more"
        words.append(f" In the strip: {_percent(found.small)}, {nearer}.")
    if len(places):
        words.append(f" Ticks: the {len(places)} outermost eigenvalues, each computed by itself.")
    said = "".join(words)
    keys = [Key(word, color) for word, color in (("below 0", HUES[1]), ("above 0", HUES[0]))]
    return Picture(point.title, to_svg(figure, name, escape(f"Density. {point.title}. {said}")), said, keys)


def _over_steps(name: str, point: Point, rows: pd.DataFrame) -> Picture:
    """The densities of one point at several steps, the earlier the fainter."""
    steps = sorted(rows["step"].unique())
    shown = [int(steps[i]) for i in spread(len(steps), OVERLAID)]
    at = {step: rows[rows["step"] == step] for step in shown}
    found = [smooth(of, SIGMA_OVER_STEPS) for of in at.values()]
    figure, axes = chart(UNIT, "share of eigenvalues per decade")
    floor = _axes(axes, found)
    alphas = np.linspace(FAINTEST, 1.0, len(found))
    keys = []
    for step, one, alpha in zip(shown, found, alphas, strict=True):
        color = INK if step == shown[-1] else HUES[0]
        for sign, side in ((-1, one.negative), (1, one.positive)):
            axes.plot(place(sign, side.decades, floor), side.mean, color=color, linewidth=1.4, alpha=float(alpha))
        keys.append(Key(f"step {step:,}", color, alpha=float(alpha)))
    inside = ", ".join(f"{_percent(one.small)} at step {step:,}" for step, one in zip(shown, found, strict=True))
    words = (
        f"Smoothed over {number(SIGMA_OVER_STEPS)} decades. Curves begin where there are nodes enough; "
        f"closer to 0 are {inside}."
    )
    title = f"{named(point.matrix)} of {point.walker} over steps"
    return Picture(title, to_svg(figure, name, escape(f"Density. {title}. {words}")), words, keys)


def _percent(part: float) -> str:
    return f"{100 * part:.3g} %" if part < 0.9995 else "all"


def _axes(axes: Axes, found: list[Smooth]) -> float:
    """Decades outwards from the strip, on both sides as far as there is weight; y as deep as single eigenvalues.

    Returns the floor, where the strip ends.
    """
    floor = min(one.floor for one in found)
    low, high = (
        max((float(side.decades[-1]) for side in sides if side.mean.any()), default=floor)
        for sides in ([one.negative for one in found], [one.positive for one in found])
    )
    heights = np.concatenate([side.mean[_peaks(side.mean)] for one in found for side in (one.negative, one.positive)])
    top = float(heights.max(initial=0.0)) or 1.0
    deepest = float(heights.min(initial=top, where=heights > SHALLOW * top)) / 2
    log_axis(axes, min(deepest, top / 10), top)
    left, right = (float(place(sign, np.array(end), floor)) for sign, end in ((-1, low), (1, high)))
    axes.set_xlim(left, right)
    axes.axvspan(-MIDDLE, MIDDLE, color=INK, alpha=0.07, linewidth=0, zorder=0)
    stride = max(1, math.ceil((low + high - 2 * floor) / 7))
    decades = np.arange(math.floor(max(low, high)), floor, -stride, dtype=np.float64)
    ticks = {0.0: "0"}
    for sign, end in ((-1, low), (1, high)):
        inside = decades[(decades <= end) & (place(1, decades, floor) > BESIDE * (right - left))]
        names = [number(sign * 10.0 ** int(k)) for k in inside]
        ticks |= dict(zip(place(sign, inside, floor).tolist(), names, strict=True))
    axes.set_xticks(list(ticks), list(ticks.values()))
    return floor


def _peaks(y: Array) -> NDArray[np.intp]:
    """Where y is higher than on both sides, and above 0."""
    padded = np.concatenate([[0.0], y, [0.0]])
    return np.flatnonzero((y >= padded[:-2]) & (y > padded[2:]))
