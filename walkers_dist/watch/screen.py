"""The screen of `walkers watch`: progress, a line per walker, distances, the latest edges of the spectrum, events."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from walkers_dist.records.tail import Row
from walkers_dist.roles.progress import duration
from walkers_dist.watch.following import State

TICKS = "▁▂▃▄▅▆▇█"
COLORS = {"running": "green", "done": "cyan", "paused": "yellow", "analysing": "blue", "failed": "red", "lost": "red"}
WIDE = 100
"""Columns from which a walker's line also has its gradient norm and training accuracy."""
WALKERS, EDGES, MOST = 16, 5, 72
"""Shown at most: the center and the first walkers; eigenvalues of one side; characters of a curve."""


def screen(state: State, width: int) -> RenderableType:
    """All of it, for a terminal so many columns wide."""
    parts: list[RenderableType] = [_head(state)]
    if state.walkers:
        parts.append(_walkers(state, width))
    beside = [part for part in (_distances(state), _spectra(state, width)) if part is not None]
    parts += beside
    if state.events:
        parts.append(_events(state))
    if state.error:
        parts.append(Panel(Text(state.error), title="error.txt", border_style="red", title_align="left"))
    return Group(*parts)


def _head(state: State) -> RenderableType:
    title = Text.assemble((state.name, "bold"), "  ", (state.status, COLORS.get(state.status, "magenta")))
    line = Table.grid(padding=(0, 2), expand=True)
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    figures = [f"step {state.step:,} of {state.steps:,}", f"{state.rate:,.0f} steps/s", duration(state.elapsed)]
    if not state.has_ended and state.rate > 0:
        figures.append(f"{duration((state.steps - state.step) / state.rate)} left")
    line.add_row(title, "  ".join(figures))
    bar = Table.grid(expand=True)  # a bar alone does not end its line
    bar.add_row(ProgressBar(total=max(state.steps, 1), completed=state.step))
    return Group(line, bar)


def _walkers(state: State, width: int) -> RenderableType:
    wide = width >= WIDE
    table = _table("walker", "train loss", *(("train acc", "|grad|") if wide else ()), "test loss", "test acc", "norm")
    table.add_column("training loss so far", no_wrap=True, ratio=1)
    for name, row in list(state.walkers.items())[:WALKERS]:
        cells: list[RenderableType] = [
            name,
            number(row["train_loss"]),
            *((_share(row["train_accuracy"]), number(row["train_grad_norm"])) if wide else ()),
            *(number(row["test_loss"]), _share(row["test_accuracy"]), number(row["norm"])),
        ]
        cells.append(Sparkline(state.curves[name].values) if name in state.curves else "")
        table.add_row(*cells, style="bold" if name == "center" else "")
    if (more := len(state.walkers) - WALKERS) > 0:
        table.caption = f"and {more} more"
    return table


def _distances(state: State) -> RenderableType | None:
    rows = state.distances
    if not rows:
        return None
    center = [row for row in rows if "center" in (row["a"], row["b"])]
    values = [float(row["distance"]) for row in (center or rows)]
    what = "to the center" if center else "between pairs"
    mean = math.fsum(values) / len(values)
    far = max(center or rows, key=lambda row: float(row["distance"]))
    return Text.assemble(
        ("distances ", "bold"),
        f"at step {int(rows[0]['step']):,}, {what}: mean {mean:.4g}, "
        f"largest {float(far['distance']):.4g} ({far['a']}, {far['b']})",
    )


def _spectra(state: State, width: int) -> RenderableType | None:
    if not state.spectra:
        return None
    table = _table("curvature of", "at step")
    table.add_column("largest eigenvalues", ratio=1, no_wrap=True)
    table.add_column("smallest", ratio=1, no_wrap=True)
    most = EDGES if width >= WIDE else EDGES // 2
    for (walker, matrix), rows in list(state.spectra.items())[:WALKERS]:
        sides = {side: [number(r["eigenvalue"]) for r in rows if r["side"] == side] for side in ("top", "bottom")}
        shown = [", ".join(sides[side][:most]) for side in ("top", "bottom")]
        table.add_row(f"{walker} ({matrix})", f"{int(rows[0]['step']):,}", *shown)
    return table


def _events(state: State) -> RenderableType:
    lines = [Text(_event(row), no_wrap=True, overflow="ellipsis") for row in state.events]
    return Group(Text("last events", style="bold"), *lines)


def _event(row: Row) -> str:
    change = f"{row['key']}: {row['old']} -> {row['new']}" if row["key"] else row["new"]
    return f"  step {row['step']}  {row['source']}  {change}"


def _table(*columns: str) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="bold dim", caption_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    return table


def number(cell: str) -> str:
    return f"{float(cell):.4g}" if cell else "-"


def _share(cell: str) -> str:
    return f"{100 * float(cell):.1f} %" if cell else "-"


class Sparkline:
    """A curve as wide as its column."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values = values

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(sparkline(self.values, options.max_width), no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(8, min(MOST, options.max_width))


def sparkline(values: Sequence[float], width: int) -> str:
    """A curve of at most `width` characters, in eighths of a line; logarithmic where all is positive."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return ""
    scale = math.log if min(known) > 0 else float
    low, high = scale(min(known)), scale(max(known))
    picked = list(values)
    if len(values) > width:
        picked = [*(values[i * len(values) // width] for i in range(width - 1)), values[-1]]

    def tick(value: float) -> str:
        if not math.isfinite(value):
            return "×"
        at = (scale(value) - low) / (high - low) if high > low else 0.0
        return TICKS[min(int(at * len(TICKS)), len(TICKS) - 1)]

    return "".join(tick(value) for value in picked)
