"""Changes of the experiment while it ran: a dotted line at each, its text above the chart where there is room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import pandas as pd
from matplotlib.axes import Axes

from walkers_dist.report.figure import HEIGHT, INK, LEFT, RIGHT, WIDTH

SOURCES = ("schedule", "live", "curvature")
ROWS, ROW, LETTER, GAP = 3, 14.0, 6.2, 8.0
"""Rows of text above a chart; the height of one, the width of a letter, and the least room between two texts."""
LONGEST = 44


@dataclass(frozen=True)
class Mark:
    """A change that took effect at `step`; `short` leaves out which section its key is in."""

    step: int
    text: str
    short: str


@dataclass(frozen=True)
class Label:
    """Where the text of a mark stands: in which row above the axes, and whether it ends at its line or starts there."""

    text: str
    row: int
    ends: bool


def marks(events: pd.DataFrame) -> list[Mark]:
    """Changes of the experiment, one mark per step, in order of steps."""
    changes = events[events["source"].isin(SOURCES)].dropna(subset=["key", "new"])
    found = []
    for step, rows in changes.groupby("step"):
        first, *more = [f"{row.key} → {row.new}" for row in rows.itertuples()]
        rest = f" (+{len(more)})" if more else ""
        text = first if len(first) <= LONGEST else first[: LONGEST - 1] + "…"
        found.append(Mark(int(step), text + rest, text[text.split(" → ")[0].rfind(".") + 1 :] + rest))
    return found


def labels(shown: Sequence[Mark], low: float, high: float) -> list[Label] | None:
    """A place for every mark's text on an axis from step `low` to `high`, short texts where the long ones are too many.

    No text touches another, nor a line on its way up to a higher row. None where there is no such arrangement.
    """
    if len(shown) > 2 * ROWS:
        return None
    width = WIDTH - LEFT - RIGHT
    lines = [(mark.step - low) / max(high - low, 1) * width for mark in shown]
    return _arranged(lines, [mark.text for mark in shown]) or _arranged(lines, [mark.short for mark in shown])


def _arranged(lines: Sequence[float], texts: Sequence[str]) -> list[Label] | None:
    """The first arrangement of `texts` beside their `lines`, found by trying rows and sides one mark after another."""

    def span(i: int, ends: bool) -> tuple[float, float]:
        length = LETTER * len(texts[i]) + GAP
        return (lines[i] - length, lines[i]) if ends else (lines[i], lines[i] + length)

    def apart(i: int, a: Label, j: int, b: Label) -> bool:
        (a_low, a_high), (b_low, b_high) = span(i, a.ends), span(j, b.ends)
        if a.row == b.row:
            return a_high <= b_low or b_high <= a_low
        (start, end), line = ((a_low, a_high), lines[j]) if a.row < b.row else ((b_low, b_high), lines[i])
        return not start - GAP / 2 < line < end

    def placed(found: list[Label]) -> list[Label] | None:
        i = len(found)
        if i == len(texts):
            return found
        for row, ends in product(range(ROWS), (False, True)):
            label = Label(texts[i], row, ends)
            start, end = span(i, ends)
            inside = start >= -LEFT and end <= WIDTH - LEFT
            if inside and all(apart(j, other, i, label) for j, other in enumerate(found)):
                done = placed([*found, label])
                if done is not None:
                    return done
        return None

    return placed([])


def height(places: Sequence[Label] | None) -> float:
    """The room that these texts need above the axes."""
    return ROW * (1 + max(label.row for label in places)) if places else 0.0


def mark_changes(axes: Axes, shown: Sequence[Mark], places: Sequence[Label] | None) -> None:
    """A dotted line at each change, up to its text above the axes."""
    inside = axes.get_position().height * HEIGHT
    for index, mark in enumerate(shown):
        top = 1 + ROW * (places[index].row + 1) / inside if places else 1
        (line,) = axes.plot([mark.step] * 2, [0, top], transform=axes.get_xaxis_transform(), clip_on=False, zorder=1)
        line.set(color=INK, alpha=0.5, linewidth=0.9, linestyle=(0, (2, 2)))
        if places:
            label = places[index]
            offset = (-GAP / 2 if label.ends else GAP / 2, 3 + ROW * label.row)
            text = axes.annotate(label.text, (mark.step, 1.0), offset, ("data", "axes fraction"), "offset points")
            text.set(fontsize=10, horizontalalignment="right" if label.ends else "left", annotation_clip=False)
