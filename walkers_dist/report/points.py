"""Where curvature was measured: the names of matrices, the latest step of each point, which of many are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from walkers_dist.report.html import absent
from walkers_dist.report.lines import listed

UNIT = "eigenvalue (loss / parameter²)"
NAMES = {"hessian": "Hessian", "ggn": "Gauss-Newton matrix", "residual": "residual H − G"}


class Point(NamedTuple):
    """One matrix of one walker, and the rows of a table about it at one step."""

    matrix: str
    walker: str
    step: int
    rows: pd.DataFrame

    @property
    def title(self) -> str:
        return f"{named(self.matrix)} of {self.walker} at step {self.step:,}"


def named(matrix: str) -> str:
    """The matrix as the page calls it, at the beginning of a title."""
    name = NAMES.get(matrix, matrix)
    return name[:1].upper() + name[1:]


def latest(table: pd.DataFrame) -> list[Point]:
    """Each point's rows of its latest step, the points in the order of the table."""
    if table.empty:
        return []
    last = table[table["step"] == table.groupby(["matrix", "walker"])["step"].transform("max")]
    groups = last.groupby(["matrix", "walker", "step"], sort=False)
    return [Point(str(matrix), str(walker), int(step), rows) for (matrix, walker, step), rows in groups]


def chosen(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many of them, such that every matrix has its turn; in the given order."""
    kept: set[int] = set()
    for turn in _turns(points):
        kept |= set(turn[: most - len(kept)])
    return [point for index, point in enumerate(points) if index in kept]


def _turns(points: Sequence[Point]) -> Iterator[list[int]]:
    """The first point of each matrix, then the second ones, and so on."""
    of: dict[str, list[int]] = {}
    for index, point in enumerate(points):
        of.setdefault(point.matrix, []).append(index)
    for k in range(max(map(len, of.values()), default=0)):
        yield [places[k] for places in of.values() if k < len(places)]


def left_out(points: Sequence[Point], drawn: Sequence[Point], table: str) -> str:
    """A sentence that names the points that are not drawn; nothing where all are."""
    places = {(point.matrix, point.walker) for point in drawn}
    rest = [f"{p.walker} ({NAMES.get(p.matrix, p.matrix)})" for p in points if (p.matrix, p.walker) not in places]
    return absent(f"Also in {table}.csv: {listed(rest)}.") if rest else ""
