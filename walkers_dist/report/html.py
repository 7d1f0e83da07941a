"""Pieces of the page: pictures, tables, bars. Whatever text comes in is escaped here."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from walkers_dist.report.figure import HUES, INK


def escape(text: object) -> str:
    return html.escape(str(text), quote=True)


@dataclass(frozen=True)
class Picture:
    """A chart with its title, its one-line caption and its legend: (label, colour, dashed)."""

    title: str
    svg: str
    caption: str
    legend: Sequence[tuple[str, str, bool]] = ()

    def html(self) -> str:
        keys = "".join(
            f'<li><i class="{"dashed" if dashed else "solid"}" style="color:{_css(color)}"></i>{escape(label)}</li>'
            for label, color, dashed in self.legend
        )
        keys = f'<ul class="legend">{keys}</ul>' if keys else ""
        return (
            f"<figure><h3>{escape(self.title)}</h3>{keys}{self.svg}"
            f"<figcaption>{escape(self.caption)}</figcaption></figure>"
        )


def _css(color: str) -> str:
    return "var(--ink)" if color == INK else f"var(--hue{HUES.index(color)})"


def section(name: str, title: str, *parts: str) -> str:
    return f'<section id="{name}"><h2>{escape(title)}</h2>\n{"".join(parts)}\n</section>'


def grid(pictures: Sequence[Picture]) -> str:
    return f'<div class="grid">{"".join(picture.html() for picture in pictures)}</div>' if pictures else ""


def absent(sentence: str) -> str:
    return f'<p class="absent">{escape(sentence)}</p>'


def exact(value: float, shown: str) -> str:
    """A number as people read it, with all its digits for machines."""
    return f'<data value="{value!r}">{escape(shown)}</data>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: bool = False) -> str:
    """A table of cells that are HTML already; `numeric` sets all but the first column as figures."""
    top = "".join(f"<th>{escape(word)}</th>" for word in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    kind = ' class="numeric"' if numeric else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def bars(values: Mapping[str, float], unit: str) -> str:
    """One horizontal bar per value, the longest over the full width."""
    longest = max([*values.values(), 1e-12])
    rows = "".join(
        f'<dt>{escape(name)}</dt><dd><i style="width:{100 * value / longest:.1f}%"></i>'
        f"<span>{exact(value, f'{value:.2f}')} {escape(unit)}</span></dd>"
        for name, value in values.items()
    )
    return f'<dl class="bars">{rows}</dl>'


def tree(value: object) -> str:
    """Nested plain data: mappings as lists of terms, lists of mappings as tables, the rest as text."""
    if isinstance(value, Mapping):
        if not value:
            return '<span class="none">none</span>'
        rows = "".join(f"<dt>{escape(key)}</dt><dd>{tree(inner)}</dd>" for key, inner in value.items())
        return f'<dl class="tree">{rows}</dl>'
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        head = list(dict.fromkeys(chain.from_iterable(value)))
        return table(head, [[tree(item.get(key)) for key in head] for item in value])
    if isinstance(value, list):
        return escape(", ".join(map(str, value))) if value else '<span class="none">none</span>'
    return '<span class="none">none</span>' if value is None else escape(value)
