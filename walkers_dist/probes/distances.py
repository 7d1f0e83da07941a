"""How far apart walkers and center are, and how their directions differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from walkers_dist.config.kinds import Probe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Pairs = Literal["auto", "all", "center"]
Row = tuple[str, str, float, float]

AUTO_WALKERS = 16
"""Up to so many walkers `auto` means all pairs, beyond it those with the center."""
BLOCK = 1 << 20
"""Numbers of one float64 block of columns: 8 MB."""


class Distances(Probe):
    name: Literal["distances"] = "distances"
    pairs: Pairs = "auto"


def distances(X: Tensor, names: Sequence[str], pairs: Pairs = "auto") -> list[Row]:
    """Rows (a, b, |a - b|, cosine of a and b) for the rows of `X: [N, P]`, a before b in the order of `names: [N]`.

    Sums run in float64, whatever X is, over differences: close points lose no digits. The cosine of a zero vector is
    nan, and so is all that a point which is not finite takes part in.
    """
    import torch

    N = len(names)
    walkers = [name for name in names if name != "center"]
    if pairs == "all" or (pairs == "auto" and len(walkers) <= AUTO_WALKERS):
        first = list(range(N))
    else:
        first = [i for i, name in enumerate(names) if name == "center"]

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
