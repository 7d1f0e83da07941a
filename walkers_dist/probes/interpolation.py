"""Losses on the paths between walkers and center, between the two of each pair and beyond them.

Goodfellow, Vinyals, Saxe, "Qualitatively characterizing neural network optimization problems", arXiv 1412.6544, for
straight paths; the rescaled ones are elementary-walkers'. The formulas are in `paths.py`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from walkers_dist.config.kinds import Probe
from walkers_dist.probes.distances import Pairs, firsts
from walkers_dist.probes.figures import figures_of
from walkers_dist.probes.paths import Path, evenly, norm_between, points_between, rows_at_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from walkers_dist.config.kinds import Row, Snapshots
    from walkers_dist.landscape.base import Landscape

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Interpolation(Probe):
    """Rows pair by pair, a before b in the order of the names, `points` values of t in each: 0 is a, 1 is b."""

    name: Literal["interpolation"] = "interpolation"
    path: Path = "spherical"
    from_: Finite = Field(default=-1.0, alias="from")
    to: Finite = 2.0
    points: Annotated[int, Field(ge=2)] = 31
    pairs: Pairs = "auto"

    tables: ClassVar[tuple[str, ...]] = ("interpolations",)

    @model_validator(mode="after")
    def _goes_forward(self) -> Interpolation:
        if not self.from_ < self.to:
            raise ValueError(f"from = {self.from_:g} must be less than to = {self.to:g}")
        return self

    def measure(self, landscape: Landscape, snapshots: Snapshots, step: int, seed: int) -> dict[str, list[Row]]:
        return {"interpolations": self.rows(landscape, snapshots.points(step, snapshots.names), snapshots.names, step)}

    def rows(self, landscape: Landscape, X: Tensor, names: Sequence[str], step: int) -> list[Row]:
        """Rows of the table for the points `X: [N, P]`, a few at a time, whichever pairs they belong to."""
        pairs = [(a, b) for a in firsts(names, self.pairs) for b in range(a + 1, len(names))]
        t = evenly(self.from_, self.to, self.points)
        self._say_where_norms_are_negative(X, pairs)
        every = [(a, b, at) for a, b in pairs for at in t]
        rows: list[Row] = []
        chunk = rows_at_once(X[0])
        for first in range(0, len(every), chunk):
            some = every[first : first + chunk]
            a, b, at = map(list, zip(*some, strict=True))
            theta = points_between(X[a], X[b], X.new_tensor(at), self.path)
            cells = figures_of(landscape, theta)
            rows += [
                (step, names[i], names[j], self.path, tij, *row) for (i, j, tij), row in zip(some, cells, strict=True)
            ]
        return rows

    def _say_where_norms_are_negative(self, X: Tensor, pairs: list[tuple[int, int]]) -> None:
        """The interpolated norm is linear in t, so its sign shows at the ends."""
        if self.path == "linear" or not pairs:
            return
        norm = X.norm(dim=1)
        a, b = (norm[list(ends), None] for ends in zip(*pairs, strict=True))
        if (norm_between(a, b, X.new_tensor([self.from_, self.to])) < 0).any():
            _say_once(
                f"interpolation: with path = {self.path}, from = {self.from_:g} and to = {self.to:g} the interpolated "
                "norm is negative for some pairs: its absolute value is used"
            )


@cache
def _say_once(line: str) -> None:
    """In a log, the same line at every step would say no more."""
    print(line, flush=True)
