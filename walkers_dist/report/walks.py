"""Random walks on the surface: how the loss rises move by move, the threshold, and when each walk left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from walkers_dist.report.changes import Mark
from walkers_dist.report.figure import INK, chart, linear_axis, to_svg, whole_axis
from walkers_dist.report.html import Key, Picture, absent, escape, grid, lead, section
from walkers_dist.report.lines import MOVES, NAMED, Look, legend, line_chart, looks
from walkers_dist.report.series import Array, Curve, highest_shown, thin


@dataclass(frozen=True)
class Trace:
    """One walk: its loss and norm at its `moves`, each [n]; it left with move `exit`, None where it did not.

    `rise` is the loss above that of move 0, NaN where that is not known.
    """

    start: str
    moves: Array
    loss: Array
    norm: Array
    threshold: float
    exit: int | None

    @property
    def begun(self) -> bool:
        return bool(self.moves[0] == 0 and np.isfinite(self.loss[0]))

    @property
    def rise(self) -> Array:
        return self.loss - (self.loss[0] if self.begun else np.nan)


def walks(table: pd.DataFrame, changes: list[Mark]) -> str:
    if table.empty:
        return ""
    step = int(table["step"].max())
    last = traces(table[table["step"] == step])
    measured = [trace for trace in last if trace.begun]
    if not measured:
        return section("walks", "Random walks", absent(f"No walk at step {step:,} has a finite loss at its start."))
    pictures = [_rises(measured, step), _norms(measured, step), _stays(table, changes)]
    return section("walks", "Random walks", _note(last, step), grid([picture for picture in pictures if picture]))


def traces(rows: pd.DataFrame) -> list[Trace]:
    """Every walk of one step. One left if a loss exceeds its first by more than the threshold; nan counts as such."""
    found = []
    for (start, _), own in rows.groupby(["walker", "walk"], sort=False):
        own = own.sort_values("move")
        moves, loss, norm, threshold = (
            own[column].to_numpy(dtype=np.float64, copy=True) for column in ("move", "train_loss", "norm", "threshold")
        )
        begun = moves[0] == 0 and np.isfinite(loss[0])
        outside = np.flatnonzero(~(loss - loss[0] <= threshold)) if begun else moves[:0]
        loss[~np.isfinite(loss)] = norm[~np.isfinite(norm)] = np.nan
        left = int(moves[int(outside[0])]) if len(outside) else None
        found.append(Trace(str(start), moves, loss, norm, float(threshold[0]), left))
    return found


def _note(shown: Sequence[Trace], step: int) -> str:
    starts = list(dict.fromkeys(trace.start for trace in shown))
    said = []
    for start in starts:
        own = [trace for trace in shown if trace.start == start]
        exits = sorted(trace.exit for trace in own if trace.exit is not None)
        after = f", half of them by move {exits[(len(exits) - 1) // 2]:,}" if len(exits) > 1 else ""
        after = f" at move {exits[0]:,}" if len(exits) == 1 else after
        begins = f" (loss {own[0].loss[0]:.4g})" if own[0].begun else " (loss not finite)"
        said.append(f"{start}{begins}: {len(exits)} of {len(own)} left{after}")
    more = f"; and {len(said) - NAMED - 1} more starts" if len(said) > NAMED + 1 else ""
    return lead(f"Walks at step {step:,} by where they start. {'; '.join(said[: NAMED + 1])}{more}.")


def _looks(starts: Sequence[str], count: int) -> dict[str, Look]:
    """Each start's own colour, thinner the more walks there are."""
    alpha = min(1.0, max(0.3, 12 / count))
    return {name: Look(look.color, 1.2, min(alpha, look.alpha), look.dash) for name, look in looks(starts).items()}


def _rises(shown: Sequence[Trace], step: int) -> Picture:
    """How far each walk is above its own start, so that walks from high and from low are seen alike."""
    starts = list(dict.fromkeys(trace.start for trace in shown))
    known = _looks(starts, len(shown))
    figure, axes = chart(MOVES.label, "training loss above the start's")
    whole_axis(axes, np.concatenate([trace.moves for trace in shown]))
    lines = sorted({trace.threshold for trace in shown})
    as_curves = [Curve(trace.start, trace.moves, trace.rise) for trace in shown]
    _limits(axes, as_curves, lines)
    for height in lines:
        axes.axhline(height, color=INK, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1.5)
    for trace, curve in zip(shown, as_curves, strict=True):
        look = known[trace.start]
        _draw(axes, curve, look, len(shown))
        if trace.exit is not None:
            _exit(axes, trace, trace.exit, look)
    keys = [*legend(starts), Key("threshold", INK, dashed=True)]
    words = "0 is the loss where a walk starts. ×: the move that left."
    title = f"Rise of the training loss, step {step:,}"
    return Picture(title, to_svg(figure, "walks-loss", escape(f"{title}. {words}")), words, keys)


def _limits(axes: Axes, shown: Sequence[Curve], lines: Sequence[float]) -> None:
    """What is inside the thresholds fills the picture; a walk that jumped far out leaves it at its top."""
    values = np.concatenate([*(curve.y[np.isfinite(curve.y)] for curve in shown), lines])
    low, high = float(values.min()), float(values.max())
    if lines and high > max(lines) + 2 * (max(lines) - low):
        high = max(lines) + 0.5 * (max(lines) - low)
    top = highest_shown(shown)
    linear_axis(axes, low, min(high, top) if top is not None else high)


def _draw(axes: Axes, curve: Curve, look: Look, count: int) -> None:
    shown = thin(curve, count)
    marker = "o" if np.isfinite(shown.y).sum() == 1 else ""
    axes.plot(
        shown.x,
        shown.y,
        look.dash,
        color=look.color,
        linewidth=look.width,
        alpha=look.alpha,
        marker=marker,
        markersize=4,
    )


def _exit(axes: Axes, trace: Trace, move: int, look: Look) -> None:
    """A cross where the walk left, at the picture's top where that is too high or not finite."""
    y = float(trace.rise[trace.moves == move][0])
    top = axes.get_ylim()[1]
    y = min(y, top) if np.isfinite(y) else top
    axes.plot(move, y, "x", color=look.color, markersize=6.5, markeredgewidth=1.6, clip_on=False, zorder=5)


def _norms(shown: Sequence[Trace], step: int) -> Picture | None:
    measured = [Curve(trace.start, trace.moves, trace.norm) for trace in shown if np.isfinite(trace.norm).any()]
    if not measured:
        return None
    starts = list(dict.fromkeys(curve.name for curve in measured))
    known = _looks(starts, len(measured))
    figure, axes = chart(MOVES.label, "norm of the point")
    whole_axis(axes, np.concatenate([curve.x for curve in measured]))
    values = np.concatenate([curve.y[np.isfinite(curve.y)] for curve in measured])
    linear_axis(axes, float(values.min()), float(values.max()))
    for curve in measured:
        _draw(axes, curve, known[curve.name], len(measured))
    title, words = f"Norm, step {step:,}", "How far from the origin the walks are."
    return Picture(title, to_svg(figure, "walks-norm", escape(f"{title}. {words}")), words, legend(starts))


def _stays(table: pd.DataFrame, changes: list[Mark]) -> Picture | None:
    """Moves that the walks of each start make before they leave, over steps."""
    if table["step"].nunique() < 2:
        return None
    rows = [
        (int(step), trace.start, trace.exit)
        for step, own in table.groupby("step")
        for trace in traces(own)
        if trace.exit is not None
    ]
    means = (
        pd.DataFrame(rows, columns=["step", "walker", "exit"]).groupby(["walker", "step"], sort=False)["exit"].mean()
    )
    if means.empty:
        return None
    starts = [name for name in dict.fromkeys(table["walker"]) if name in means.index.get_level_values(0)]
    shown = []
    for start in starts:
        own = means.loc[start].sort_index()
        shown.append(Curve(start, own.index.to_numpy(dtype=np.float64), own.to_numpy(dtype=np.float64)))
    known = looks(starts)
    return line_chart(
        "walks-exit",
        "Moves until the exit",
        "moves (mean of the walks that left)",
        shown,
        [known[start] for start in starts],
        scale="linear",
        caption="The wider the basin, the longer a walk stays; walks that stayed to the end are left out.",
        changes=changes,
        entries=legend(starts),
        alike=False,
    )
