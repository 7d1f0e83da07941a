"""The figures in the rows of a run's tables, as other tools take them: step, walker, name, value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from walkers_dist.records.tables import COLUMNS
from walkers_dist.records.tail import Row

TABLES = ("results", "distances", "eigenvalues", "curvature", "sharpness", "averages")
"""Those with a few figures at each step; paths, planes and densities are pictures."""
NOT_FIGURES = ("step", "walker", "elapsed")


@dataclass(frozen=True)
class Scalar:
    """`walker` is empty where the figure belongs to none, or to two."""

    step: int
    walker: str
    name: str
    value: float


def scalars(table: str, row: Row) -> Iterator[Scalar]:
    """The figures in a row of one of `TABLES`; what is empty or not finite is left out."""
    for walker, name, cell in _NAMED[table](row) if table in _NAMED else _columns(table, row):
        if cell and math.isfinite(value := float(cell)):
            yield Scalar(int(row["step"]), walker, name, value)


Named = Iterator[tuple[str, str, str]]


def _columns(table: str, row: Row) -> Named:
    prefix = {"results": ""}.get(table, f"{table}/")
    words = {"averages": ("kind", "members"), "sharpness": ("formula",)}.get(table, ())
    of = "".join(f"{row[word]}/" for word in words)
    for column in COLUMNS[table]:
        if column not in (*NOT_FIGURES, *words):
            yield row.get("walker", ""), f"{prefix}{of}{column}", row[column]


def _distances(row: Row) -> Named:
    yield "", f"distances/{row['a']}-{row['b']}", row["distance"]
    yield "", f"cosines/{row['a']}-{row['b']}", row["cosine"]


def _eigenvalues(row: Row) -> Named:
    if row["side"] != "full":
        yield row["walker"], f"{row['matrix']}/{row['side']} {row['rank']}", row["eigenvalue"]


def _curvature(row: Row) -> Named:
    yield row["walker"], f"{row['matrix']}/{row['quantity']}", row["value"]


_NAMED: Mapping[str, Callable[[Row], Named]] = {
    "distances": _distances,
    "eigenvalues": _eigenvalues,
    "curvature": _curvature,
}
