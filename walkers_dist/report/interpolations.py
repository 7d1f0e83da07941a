"""Loss and accuracy on the paths between points, step after step, and the barrier on each path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from walkers_dist.report.changes import Mark
from walkers_dist.report.figure import HUES, INK, chart, linear_axis, log_axis, real_axis, to_svg
from walkers_dist.report.html import Key, Picture, absent, escape, fold, grid, heading, legend, section
from walkers_dist.report.lines import NAMED, SMALL, Look, line_chart, listed, looks
from walkers_dist.report.series import Array, Curve, spread

PAIRS = 10
"""Of more pairs those with the highest barrier are drawn."""
NO_BARRIER = 1e-12
"""A rise that is of rounding."""
STEPS_SHOWN = 8
FAINTEST = 0.22
AT_END = 1e-6
"""How near to 0 or 1 a t is that was meant to be it."""
PATHS = {
    "linear": ("Straight paths", "(1 − t) a + t b"),
    "spherical": ("Spherical paths", "the straight path, each point rescaled to the interpolated norm"),
    "slerp": ("Great-circle paths", "slerp: the direction turned evenly from a to b, at the interpolated norm"),
}
SPLITS = (("train", "training"), ("test", "test"))
Limits = tuple[float, float]


@dataclass(frozen=True)
class Between:
    """The rows of one pair: `values[quantity]` is [S, T], NaN where not measured or not finite; `barrier` is [S]."""

    a: str
    b: str
    t: Array
    steps: Array
    values: dict[str, Array]

    @property
    def name(self) -> str:
        return f"{self.a}–{self.b}"

    @property
    def barrier(self) -> Array:
        return np.array([barrier(self.t, row) for row in self.values["train_loss"]])


def barrier(t: Array, loss: Array) -> float:
    """max over t in [0, 1] of L(t) - ((1 - t) L(0) + t L(1)); NaN where an end is missing or a loss is not finite."""
    inside = (t >= -AT_END) & (t <= 1 + AT_END)
    t, loss = t[inside], loss[inside]
    if not len(t) or abs(t[0]) > AT_END or abs(t[-1] - 1) > AT_END or not np.isfinite(loss).all():
        return float("nan")
    return float(np.max(loss - ((1 - t) * loss[0] + t * loss[-1])))


def interpolations(table: pd.DataFrame, changes: list[Mark]) -> str:
    if table.empty:
        return ""
    parts = [
        _of_path(f"path-{index}", str(path), rows, changes)
        for index, (path, rows) in enumerate(table.groupby("path", sort=False))
    ]
    return section("interpolation", "Interpolation", *parts)


def between(rows: pd.DataFrame) -> list[Between]:
    """Every pair of the rows of one path, in order of appearance; those with the center come first."""
    columns = [f"{split}_{quantity}" for quantity in ("loss", "accuracy") for split, _ in SPLITS]
    found = []
    for (a, b), own in rows.groupby(["a", "b"], sort=False):
        own = own.drop_duplicates(["step", "t"], keep="last")
        wide = own.pivot(index="step", columns="t", values=columns).replace([np.inf, -np.inf], np.nan)
        values = {column: wide[column].to_numpy(dtype=np.float64) for column in columns}
        t, steps = (np.asarray(axis, dtype=np.float64) for axis in (wide["train_loss"].columns, wide.index))
        found.append(Between(str(a), str(b), t, steps, values))
    return sorted(found, key=lambda pair: "center" not in (pair.a, pair.b))


def _of_path(name: str, path: str, rows: pd.DataFrame, changes: list[Mark]) -> str:
    title, formula = PATHS.get(path, (f"Path {path}", ""))
    pairs = between(rows)
    shown, rest = pairs, []
    if len(pairs) > PAIRS:
        by_height = sorted(pairs, key=lambda pair: -np.nan_to_num(pair.barrier[-1], nan=-np.inf))
        kept = {pair.name for pair in by_height[:PAIRS]}
        shown, rest = ([pair for pair in pairs if (pair.name in kept) is in_it] for in_it in (True, False))
    steps = np.unique(np.concatenate([pair.steps for pair in pairs]))
    drawn = steps[spread(len(steps), STEPS_SHOWN)]
    barriers = _barriers(name, pairs, changes)
    accuracies = _multiples(f"{name}-accuracy", shown, drawn, "accuracy")
    words = f"t runs from a (t = 0) to b (t = 1), here {formula}." if formula else ""
    said = [
        absent(f"Of {len(pairs)} pairs those with the highest barrier at the last step; also in interpolations.csv: "
               f"{listed([pair.name for pair in rest])}.") if rest else "",
        absent("No loss on these paths is finite.") if not any(_finite(pair, "train_loss") for pair in pairs) else "",
        "" if barriers else absent(_no_barriers(pairs)),
    ]  # fmt: skip
    return "".join(
        [
            heading(title, words),
            _multiples(f"{name}-loss", shown, drawn, "loss"),
            *said,
            fold("Accuracy on the same paths", accuracies) if accuracies else "",
            grid([barriers] if barriers else []),
        ]
    )


def highest(pairs: Sequence[Between]) -> float:
    """The highest barrier at any step; NaN where none is known."""
    return float(np.max([value for pair in pairs for value in pair.barrier if np.isfinite(value)] or [np.nan]))


def _no_barriers(pairs: Sequence[Between]) -> str:
    if np.isnan(highest(pairs)):
        return "No barrier is known: no path has finite losses from t = 0 to t = 1."
    return "There is no barrier: on no path does the loss rise above the straight line between the losses of its ends."


def _finite(pair: Between, column: str) -> bool:
    return bool(np.isfinite(pair.values[column]).any())


def _multiples(name: str, pairs: Sequence[Between], drawn: Array, quantity: str) -> str:
    """A small chart per pair, all with the same axes: training curves of the `drawn` steps, and the last test curve."""
    pairs = [pair for pair in pairs if _finite(pair, f"train_{quantity}")]
    if not pairs:
        return ""
    last = float(drawn[-1])
    tested = any(_finite(pair, f"test_{quantity}") for pair in pairs)
    values = np.concatenate([pair.values[f"train_{quantity}"].ravel() for pair in pairs])
    values = values[np.isfinite(values)]
    alphas = np.linspace(FAINTEST, 1.0, len(drawn)) if len(drawn) > 1 else np.ones(1)
    keys = [Key(f"training, step {drawn[0]:,.0f}", HUES[0], alpha=float(alphas[0]))] if len(drawn) > 1 else []
    if len(drawn) > 2:
        keys.append(Key("between", HUES[0], alpha=float(alphas[len(alphas) // 2])))
    keys.append(Key(f"training, step {last:,.0f}", HUES[0]))
    if tested:
        keys.append(Key(f"test, step {last:,.0f}", HUES[1], dashed=True))
    pictures = []
    for index, pair in enumerate(pairs):
        figure, axes = chart("t", quantity, top=16, size=SMALL)
        _scale(axes, values, quantity)
        real_axis(axes, np.concatenate([other.t for other in pairs]))
        _ends(axes, pair)
        for step, alpha in zip(drawn, alphas, strict=True):
            for row in pair.values[f"train_{quantity}"][pair.steps == step]:
                _line(axes, pair.t, row, Look(HUES[0], 1.5, float(alpha)))
        for row in pair.values[f"test_{quantity}"][pair.steps == last]:
            _line(axes, pair.t, row, Look(HUES[1], 1.3, dash="--"))
        said = f"{quantity} on the path from {pair.a} to {pair.b}"
        pictures.append(Picture(pair.name, to_svg(figure, f"{name}-{index}", escape(said)), ""))
    return legend(keys) + grid(pictures, small=True)


def _scale(axes: Axes, values: Array, quantity: str) -> None:
    """Losses of any size, logarithmic where they are positive; accuracies up to 1."""
    low, high = float(values.min()), float(values.max())
    if quantity == "loss" and low > 0:
        log_axis(axes, low, high)
    else:
        linear_axis(axes, low, high)
        if quantity == "accuracy":
            axes.set_ylim(top=1.005)


def _ends(axes: Axes, pair: Between) -> None:
    """A thin line at each end of the path, and whose it is above the axes."""
    across = blended_transform_factory(axes.transData, axes.transAxes)
    for at, name in ((0.0, pair.a), (1.0, pair.b)):
        if pair.t.min() - AT_END <= at <= pair.t.max() + AT_END:
            axes.axvline(at, color=INK, alpha=0.45, linewidth=0.8, zorder=1)
            axes.text(at, 1.03, name, transform=across, ha="center", va="bottom", fontsize=10.5)


def _line(axes: Axes, t: Array, y: Array, look: Look) -> None:
    marker = "o" if np.isfinite(y).sum() == 1 else ""
    axes.plot(t, y, look.dash, color=look.color, linewidth=look.width, alpha=look.alpha, marker=marker, markersize=4)


def _barriers(name: str, pairs: Sequence[Between], changes: list[Mark]) -> Picture | None:
    """The barrier of each pair over steps; of many pairs those with the center and the others are two clouds."""
    shown = [Curve(pair.name, pair.steps, pair.barrier) for pair in pairs]
    if not highest(pairs) > NO_BARRIER:
        return None
    names = [curve.name for curve in shown]
    known = looks(names)
    keys = [Key(who, known[who].color, known[who].dash != "-") for who in names]
    if len(names) > NAMED:
        central = [pair.name for pair in pairs if "center" in (pair.a, pair.b)]
        known |= {who: Look(HUES[1], 1.4, 0.85) for who in central}
        keys = [
            Key(f"with center ({len(central)})", HUES[1]),
            Key(f"between walkers ({len(names) - len(central)})", HUES[0], alpha=0.6),
        ]
        keys = [key for key, count in zip(keys, (len(central), len(names) - len(central)), strict=True) if count]
    return line_chart(
        f"{name}-barrier",
        "Barrier",
        "barrier of the training loss",
        shown,
        [known[who] for who in names],
        scale="linear",
        caption="The highest rise above the straight line between the losses of the two ends; 0: no barrier.",
        changes=changes,
        entries=keys,
        alike=False,
    )
