"""A map of numbers between all pairs of a population, with its scale beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from walkers_dist.report.figure import chart, number, to_svg
from walkers_dist.report.html import Picture, escape
from walkers_dist.report.series import Array

WRITTEN_IN = 9
"""Up to so many points, the cells hold their numbers."""


def heatmap(
    name: str, title: str, unit: str, names: Sequence[str], matrix: Array, words: str, low: float, high: float
) -> Picture:
    """The map of `matrix: [n, n]` in colours from `low` to `high`; what is not finite is empty."""
    figure, axes = chart("", "", size=(540, 380))
    axes.set_position((0.12, 0.1, 0.65, 0.88))
    shown = np.where(np.isfinite(matrix), matrix, np.nan)
    image = axes.imshow(shown, cmap="cividis", vmin=low, vmax=high, interpolation="none", aspect="equal")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    ticks = list(range(0, len(names), -(-len(names) // 17)))
    axes.set_xticks(ticks, [names[i] for i in ticks], rotation=0 if len(ticks) <= WRITTEN_IN else 90)
    axes.set_yticks(ticks, [names[i] for i in ticks])
    if len(names) <= WRITTEN_IN:
        for (i, j), value in np.ndenumerate(shown):
            if np.isfinite(value):
                ink = "#ffffff" if (value - low) / (high - low) < 0.55 else "#000000"
                axes.text(j, i, number(float(f"{value:.3g}")), ha="center", va="center", fontsize=9.5, color=ink)
    bar = figure.add_axes((0.82, 0.14, 0.028, 0.76))
    bar.imshow(np.linspace(1, 0, 128)[:, None], cmap=image.get_cmap(), aspect="auto", extent=(0, 1, low, high))
    bar.set_xticks([])
    bar.yaxis.tick_right()
    bar.yaxis.set_label_position("right")
    bar.yaxis.set_major_formatter(number)
    bar.set_ylabel(unit)
    bar.spines[:].set_visible(False)
    return Picture(title, to_svg(figure, name, escape(f"{title}. {words}")), words)
