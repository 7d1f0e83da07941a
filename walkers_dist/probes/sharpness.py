"""How much the loss rises within a small region around a point, in percent of 1 + the loss there.

    sharpness = 100 (max f - f) / (1 + f),  the maximum over
        original   the ball |y| <= epsilon (elementary-walkers)
        keskar     the box |y_j| <= epsilon (|x_j| + 1) (Keskar et al. 2017, arXiv 1609.04836, metric 2.1 with A = I)

where f is the training loss, climbed by `probes/ascent.py`; on test data both losses are taken at the same two points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from walkers_dist.config.kinds import Probe, Rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from walkers_dist.config.kinds import Row, Snapshots
    from walkers_dist.landscape.base import Landscape

Formula = Literal["original", "keskar"]
NUMBERS_AT_ONCE = 1 << 24
"""Numbers in the points that climb together: 128 MB in float64, of which an ascent needs a handful."""


def _each_once(formulas: Formula | tuple[Formula, ...]) -> Formula | tuple[Formula, ...]:
    if isinstance(formulas, tuple) and len(set(formulas)) < len(formulas):
        raise ValueError("must hold each formula once")
    return formulas


Formulas = Annotated[
    Formula | Annotated[tuple[Formula, ...], Field(strict=False, min_length=1)], AfterValidator(_each_once)
]


class Sharpness(Probe):
    """A row says how far away (Euclidean `distance`) and after how many `moves` of ascent the highest point was found.

    Where a point is not finite, its row says nan.
    """

    name: Literal["sharpness"] = "sharpness"
    of: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Around which points; null is all of them."""
    formula: Formulas = ("original",)
    epsilon: Rate = 0.01
    moves: Annotated[int, Field(ge=1)] = 100
    """Of ascent, at most."""

    tables: ClassVar[tuple[str, ...]] = ("sharpness",)

    def points_named(self) -> dict[str, tuple[str, ...]]:
        return {"of": self.of} if self.of else {}

    def measure(self, landscape: Landscape, snapshots: Snapshots, step: int, seed: int) -> dict[str, list[Row]]:
        from walkers_dist.probes.ascent import STARTS

        names = self.of or tuple(snapshots.names)
        formulas: tuple[Formula, ...] = self.formula if isinstance(self.formula, tuple) else (self.formula,)
        x = snapshots.points(step, names)
        at_once = max(1, NUMBERS_AT_ONCE // (STARTS * landscape.size))
        rows: list[Row] = []
        for first in range(0, len(names), at_once):
            some = slice(first, first + at_once)
            for formula in formulas:
                rows += self._rows(landscape, x[some], names[some], formula, step, seed)
        rows.sort(key=lambda row: names.index(str(row[1])))  # by point, then in the order of `formula`
        return {"sharpness": rows}

    def _rows(
        self, landscape: Landscape, x: Tensor, names: Sequence[str], formula: Formula, step: int, seed: int
    ) -> list[Row]:
        """The rows of points `x: [K, P]` by one formula."""
        import torch

        from walkers_dist.landscape.streams import stream
        from walkers_dist.probes.ascent import Ball, Box, climb

        finite = x.isfinite().all(dim=1, keepdim=True)
        x = x.where(finite, torch.nan)
        region = Ball(x, self.epsilon) if formula == "original" else Box(x, self.epsilon)
        streams = [stream(seed, name, f"sharpness {formula}", step) for name in names]
        top = climb(landscape.loss, landscape.grad, region, streams, self.moves)
        train = sharpness(top.start, top.loss).tolist()
        test: list[float] | list[None] = [None] * len(names)
        if "test" in landscape.splits:
            before, after = (landscape.values(theta, split="test")[0] for theta in (x, top.theta))
            test = sharpness(before, after).tolist()
        figures = zip(names, top.moves.tolist(), top.distance.tolist(), train, test, strict=True)
        return [(step, name, formula, self.epsilon, moves, *rest) for name, moves, *rest in figures]


def sharpness(initial: Tensor, final: Tensor) -> Tensor:
    """100 (final - initial) / (1 + initial)."""
    return 100 * (final - initial) / (1 + initial)
