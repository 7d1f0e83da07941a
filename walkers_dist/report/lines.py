"""Curves over steps, or over any other x: who gets which colour, what the axis spans, what the caption must say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes

from walkers_dist.report.changes import Mark, height, labels, mark_changes
from walkers_dist.report.figure import (
    HUES,
    INK,
    Size,
    chart,
    linear_axis,
    log_axis,
    real_axis,
    to_svg,
    whole_axis,
)
from walkers_dist.report.html import Key, Picture, escape
from walkers_dist.report.series import Curve, highest_shown, thin

SMALL: Size = (360.0, 236.0)
"""The size of one of many charts."""
NAMED = 8
"""Up to so many walkers have a colour each; more are one cloud."""
Scale = Literal["log", "linear"]


@dataclass(frozen=True)
class Across:
    """What a chart's x is: the label of the axis, the word for one value, whether values are whole numbers."""

    label: str
    word: str
    whole: bool = True


STEPS = Across("step (gradients per walker)", "step")
MOVES = Across("move", "move")


@dataclass(frozen=True)
class Look:
    color: str
    width: float = 1.4
    alpha: float = 1.0
    dash: str = "-"


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each of `names`: the center in ink, `w0`, `w1`, … in the hues, a cloud where they are many."""
    walkers = [name for name in names if name != "center"]
    found = {"center": Look(INK, 2.2)}
    for name in walkers:
        index = int(name[1:]) if name[1:].isdigit() else walkers.index(name)
        if len(walkers) > NAMED:
            found[name] = Look(HUES[0], 0.9, max(0.25, min(0.6, 12 / len(walkers))))
        else:
            found[name] = Look(HUES[index % len(HUES)], dash="-" if index < len(HUES) else "--")
    return found


def legend(names: Sequence[str]) -> list[Key]:
    """What the page writes above a chart."""
    walkers = [name for name in names if name != "center"]
    entries = [Key("center", INK)] if "center" in names else []
    if len(walkers) > NAMED:
        return [*entries, Key(f"{len(walkers)} walkers", HUES[0])]
    known = looks(names)
    return entries + [Key(name, known[name].color, known[name].dash != "-") for name in walkers]


def draw(axes: Axes, curve: Curve, look: Look, count: int, order: float = 2.0) -> None:
    """One of `count` curves; few points are dots too, and a cross stands where it stopped being finite."""
    shown = thin(curve, count)
    alone = np.isfinite(shown.y).sum() == 1
    few = len(shown.x) <= 25 and count <= 3 * NAMED
    (line,) = axes.plot(
        shown.x, shown.y, look.dash, color=look.color, linewidth=look.width, alpha=look.alpha, zorder=order
    )
    if alone or few:
        line.set(marker="o", markersize=5 if alone else 3.2, markeredgewidth=0)
    if curve.lost_at is not None:
        last = np.flatnonzero(np.isfinite(curve.y))[-1]
        end = min(curve.y[last], axes.get_ylim()[1])
        axes.plot(curve.x[last], end, "x", markersize=7, markeredgewidth=1.6, color=look.color, zorder=9, clip_on=False)


def scale_y(axes: Axes, shown: Sequence[Curve], scale: Scale, alike: bool = True) -> str:
    """Set the y axis to what is `shown`; returns a sentence where something leaves the picture, else nothing.

    Only of curves that are `alike` can one be told to have diverged by its height.
    """
    values = np.concatenate([curve.y[np.isfinite(curve.y)] for curve in shown])
    top = highest_shown(shown) if alike else None
    inside = values[values <= top] if top is not None else values
    if scale == "log" and (values >= 0).all() and (inside > 0).any():
        positive = inside[inside > 0]
        log_axis(axes, float(positive.min()), float(top or positive.max()))
    else:
        linear_axis(axes, float(inside.min()), float(inside.max() if top is None else top))
    if top is None:
        return ""
    wild = [curve.name for curve in shown if curve.measured and np.nanmax(curve.y) > top]
    return f"Out of the picture at its top: {listed(wild)}."


def line_chart(
    name: str,
    title: str,
    ylabel: str,
    shown: Sequence[Curve],
    styles: Sequence[Look],
    *,
    scale: Scale,
    caption: str,
    changes: Sequence[Mark] = (),
    entries: Sequence[Key] = (),
    ceiling: float | None = None,
    alike: bool = True,
    across: Across = STEPS,
) -> Picture:
    """The chart of the curves `shown`, each in its style, with `changes` marked and `entries` as legend.

    `ceiling` bounds y from above; curves that are not `alike` may differ by any factor. One at least is measured.
    """
    measured = [curve for curve in shown if curve.measured]
    x = np.concatenate([curve.x for curve in shown])
    changes = [mark for mark in changes if x.min() <= mark.step <= x.max()]
    places = labels(changes, float(x.min()), float(x.max()))
    figure, axes = chart(across.label, ylabel, top=height(places))
    (whole_axis if across.whole else real_axis)(axes, x)
    said = [caption, scale_y(axes, measured, scale, alike)]
    if ceiling is not None and axes.get_ylim()[1] > ceiling:
        axes.set_ylim(top=ceiling)
    mark_changes(axes, changes, places)
    for curve, look in zip(shown, styles, strict=True):
        if curve.measured:
            draw(axes, curve, look, len(measured), order=3.0 if look.color == INK else 2.0)
    lost = [f"{curve.name} from {across.word} {curve.lost_at:.10g}" for curve in shown if curve.lost_at is not None]
    never = [curve.name for curve in shown if not curve.measured]
    if lost or never:
        said.append(f"Not finite: {listed(lost + never)} (×).")
    if changes:
        said.append("Dotted: changes" + (", listed under Events." if places is None else "."))
    words = " ".join(sentence for sentence in said if sentence)
    return Picture(title, to_svg(figure, name, escape(f"{title}. {words}")), words, entries)


def listed(names: Sequence[str], most: int = 6) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
