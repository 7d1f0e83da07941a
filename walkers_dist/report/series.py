"""Tables turned into curves: thinned to what a screen can show, with limits that a diverged one does not bend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
POINTS_PER_CURVE, POINTS_PER_FIGURE = 2000, 20_000
WILD = 1e3
"""A curve so many times higher than its fellows has diverged: it leaves the picture at its top."""


@dataclass(frozen=True)
class Curve:
    """Values `y` at `x` (steps, unless it is said), both [n]; what is not finite is NaN."""

    name: str
    x: Array
    y: Array

    @property
    def measured(self) -> bool:
        return bool(np.isfinite(self.y).any())

    @property
    def lost_at(self) -> float | None:
        """The first x from which on nothing is finite, where there were finite values before."""
        finite = np.flatnonzero(np.isfinite(self.y))
        if len(finite) == 0 or finite[-1] == len(self.y) - 1:
            return None
        return float(self.x[finite[-1] + 1])


def curves(table: pd.DataFrame, key: str, value: str, over: str = "step") -> list[Curve]:
    """One curve of the column `value` over the column `over` for each `key`, in order of appearance."""
    found = []
    for name, rows in table.groupby(key, sort=False):
        y = rows[value].to_numpy(dtype=np.float64, copy=True)
        y[~np.isfinite(y)] = np.nan
        found.append(Curve(str(name), rows[over].to_numpy(dtype=np.float64), y))
    return found


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0 to `count - 1`, evenly spread, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def thin(curve: Curve, count: int) -> Curve:
    """One of `count` curves with as many points as a screen can show; of each stretch its lowest and highest stay."""
    n, keep = len(curve.y), max(200, min(POINTS_PER_CURVE, POINTS_PER_FIGURE // max(count, 1)))
    if n <= keep:
        return curve
    edges = np.linspace(0, n, keep // 2, dtype=int)
    low, high = np.nan_to_num(curve.y, nan=np.inf), np.nan_to_num(curve.y, nan=-np.inf)
    kept = {0, n - 1}
    for start, end in pairwise(edges):
        kept |= {int(start + low[start:end].argmin()), int(start + high[start:end].argmax())}
    index = np.array(sorted(kept))
    return Curve(curve.name, curve.x[index], curve.y[index])


def highest_shown(shown: Iterable[Curve]) -> float | None:
    """Where the picture ends at its top because a curve diverged; None where none did."""
    shown = [curve for curve in shown if curve.measured]
    if not shown:
        return None
    start = max(curve.y[np.isfinite(curve.y)][0] for curve in shown)
    peaks = [np.nanmax(curve.y) for curve in shown]
    top = WILD * max(start, np.quantile(peaks, 0.25, method="lower"))
    return float(top) if 0 < top < max(peaks) else None
