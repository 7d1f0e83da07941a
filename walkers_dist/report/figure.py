"""One chart: an SVG whose colours and letters are the page's own, so that it follows light and dark."""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a home that cannot be written is no news to the user

WIDTH, HEIGHT = 540.0, 316.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 14.0, 10.0, 46.0
INK = "#010203"
"""Drawn in this, shown in the colour of the page's letters."""
HALO = "#fcfdfe"
"""Drawn in this, shown in the colour of the panel: what sets a line off from the map under it."""
HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's colours for the colour-blind; the page shows each in a shade that its background bears."""
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
STYLE: dict[str, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "walkers",
    "font.family": "DejaVu Sans",
    "font.size": 11.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.unicode_minus": True,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "path.simplify": True,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
}


def style() -> AbstractContextManager[None]:
    """Inside it, charts are drawn in the page's style."""
    return mpl.rc_context(STYLE)  # type: ignore[arg-type]


Size = tuple[float, float]


def chart(xlabel: str, ylabel: str, top: float = 0.0, size: Size = (WIDTH, HEIGHT)) -> tuple[Figure, Axes]:
    """An empty chart of `size` in CSS pixels, with `top` of them left free above the axes."""
    width, height = size
    figure = Figure(figsize=(width / 72, height / 72))
    axes = figure.add_axes(
        (LEFT / width, BOTTOM / height, (width - LEFT - RIGHT) / width, (height - TOP - BOTTOM - top) / height)
    )
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=INK, alpha=0.12, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def number(value: float, _position: object = None) -> str:
    """A short name of a number on an axis: 0.001, 20, 10⁻⁵, 3·10⁶; never scientific letters."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    if -5 < exponent < 5:
        return f"{value:.4g}".replace("-", "−")
    digits = f"{value / 10.0**exponent:.3g}".replace("-", "−")
    power = "10" + str(exponent).translate(SUPERSCRIPT)
    return {"1": power, "−1": "−" + power}.get(digits, f"{digits}·{power}")


def log_axis(axes: Axes, low: float, high: float) -> None:
    """Make y logarithmic from `low` to `high` (both above 0), with a little room around."""
    room = max((high / low) ** 0.05, 1.15)
    axes.set_yscale("log")
    axes.set_ylim(low / room, high * room)
    decades = math.log10(high / low) + 2 * math.log10(room)
    steps = (1.0, 2.0, 5.0) if decades < 2.2 else (1.0, 3.0) if decades < 3.5 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=steps, numticks=9))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    if decades < 1:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(number))


def linear_axis(axes: Axes, low: float, high: float) -> None:
    """Make y linear from `low` to `high`, with a little room around."""
    room = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    axes.set_ylim(low - room, high + room)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(number))


def whole_axis(axes: Axes, values: Sequence[float] | np.ndarray, ticks: int = 7) -> None:
    """Let x span `values`, steps or moves, which are whole numbers; one alone stands in the middle."""
    low, high = float(np.min(values)), float(np.max(values))
    room = 0.015 * (high - low) or 1.0
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(
        MaxNLocator(ticks, integer=True, steps=[1, 2, 5, 10]) if high > low else FixedLocator([low])
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", "\u2009")))


def real_axis(axes: Axes, values: Sequence[float] | np.ndarray, ticks: int = 7) -> None:
    """Let x span `values`, which may be any numbers."""
    low, high = float(np.min(values)), float(np.max(values))
    room = 0.015 * (high - low) or 0.5
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(number))


_KEPT: ContextVar[dict[str, bytes] | None] = ContextVar("kept", default=None)


@contextmanager
def kept_as_png() -> Iterator[dict[str, bytes]]:
    """Inside it every chart that is drawn is also kept as a PNG on white, by its name."""
    kept: dict[str, bytes] = {}
    token = _KEPT.set(kept)
    try:
        yield kept
    finally:
        _KEPT.reset(token)


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    FigureCanvasAgg(figure).print_png(data, pil_kwargs={"optimize": True})
    return data.getvalue()


def to_svg(figure: Figure, name: str, label: str) -> str:
    """The chart as inline SVG: ids carry `name`, colours are the page's, nothing is fetched from elsewhere.

    `label` is what a screen reader says; it must be escaped already.
    """
    if (kept := _KEPT.get()) is not None:
        kept[name] = _png(figure)
    text = io.StringIO()
    FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', svg)
    svg = f'<svg {box[0] if box else ""} role="img" aria-label="{label}">' + svg[svg.index(">") + 1 :]
    svg = svg.replace("xlink:href=", "href=")
    wanted = {first or second for first, second in re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", svg)}
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in wanted else "", svg)
    svg = svg.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    svg = re.sub(r" d=\"[^\"]*\"", lambda m: re.sub(r"(\d\.\d)\d+", r"\1", m[0]).replace(" \n", " "), svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    for index, hue in enumerate(HUES):
        svg = svg.replace(hue, f"var(--hue{index})")
    return svg.replace(HALO, "var(--panel)").replace(INK, "currentColor")
