"""How far apart walkers and center are, and how their directions differ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from walkers_dist.config.kinds import Period, Probe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from walkers_dist.config.kinds import Row, Snapshots
    from walkers_dist.landscape.base import Landscape

Pairs = Literal["auto", "all", "center"]
Distance = tuple[str, str, float, float]

AUTO_WALKERS = 16
"""Up to so many walkers `auto` means all pairs, beyond it those with the center."""
BLOCK = 1 << 20
"""Numbers of one float64 block of columns: 8 MB."""


class Distances(Probe):
    name: Literal["distances"] = "distances"
    every: Period = 10
    pairs: Pairs = "auto"

    tables: ClassVar[tuple[str, ...]] = ("distances",)
    live: ClassVar[bool] = True

    def measure(self, landscape: Landscape, snapshots: Snapshots, step: int, seed: int) -> dict[str, list[Row]]:
        return {"distances": self.rows(snapshots.points(step, snapshots.names), snapshots.names, step)}

    def rows(self, X: Tensor, names: Sequence[str], step: int) -> list[Row]:
        """Rows of the table for `X: [N, P]`; the cosine of what has no direction is empty."""
        found = distances(X, names, self.pairs)
        return [(step, a, b, d, None if math.isnan(cosine) else cosine) for a, b, d, cosine in found]


def distances(X: Tensor, names: Sequence[str], pairs: Pairs = "auto") -> list[Distance]:
    """Rows (a, b, |a - b|, cosine of a and b) for the rows of `X: [N, P]`, a before b in the order of `names: [N]`.

    Sums run in float64, whatever X is, over differences: close points lose no digits. The cosine of a zero vector is
    nan, and so is all that a point which is not finite takes part in.
    """
    import torch

    N, first = len(names), firsts(names, pairs)
    square = X.new_zeros(len(first), N, dtype=torch.float64)
    dot, norm2 = torch.zeros_like(square), square.new_zeros(N)
    for columns in X.split(max(1, BLOCK // max(N, 1)), dim=1):
        Y = columns.double()
        square += torch.cdist(Y[first], Y, compute_mode="donot_use_mm_for_euclid_dist").square()
        dot += Y[first] @ Y.T
        norm2 += Y.square().sum(dim=1)
    norm = norm2.sqrt()
    cosine = (dot / norm[first, None] / norm).clamp(-1, 1)

    table = zip(first, square.sqrt().tolist(), cosine.tolist(), strict=True)
    return [(names[a], names[b], d[b], cos[b]) for a, d, cos in table for b in range(a + 1, N)]


def firsts(names: Sequence[str], pairs: Pairs) -> list[int]:
    """The points that have pairs with all that come after them in `names`: all of them, or the center alone."""
    walkers = [name for name in names if name != "center"]
    if pairs == "all" or (pairs == "auto" and len(walkers) <= AUTO_WALKERS):
        return list(range(len(names)))
    return [i for i, name in enumerate(names) if name == "center"]
