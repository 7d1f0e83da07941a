"""Sums over the rows that take part in an exchange: those that are not finite are left out, without a wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import Sums

AT_ONCE = 1 << 18  # numbers: some columns at a time stay in a CPU's cache


def sum_finite_rows(X: Tensor, out: Sums, *, around: Tensor | None = None, groups: Tensor | None = None) -> Tensor:
    """Sum the finite ones of the rows `X: [K, P]`, or their differences from `around: [P]` or `[K, P]`, into `out`,
    and count them. With `groups: [K]` row k is added to vector `groups[k]` of `out`.

    Returns the mask [K] of those that took part.
    """
    import torch

    took_part = X.sum(dim=1).isfinite()
    weight = took_part.to(X.dtype)[:, None]
    columns = X.shape[1] if X.is_cuda else max(1, AT_ONCE // len(X))
    for at in range(0, X.shape[1], columns):
        part = slice(at, at + columns)
        rows = X[:, part].clone() if around is None else X[:, part] - around[..., part]
        rows.nan_to_num_(0.0, 0.0, 0.0).mul_(weight)  # several times as fast as masked_fill_
        if groups is None or len(out.vectors) == 1:
            torch.sum(rows, dim=0, out=out.vector[part])
        else:
            out.vectors[:, part].zero_().index_add_(0, groups, rows)
    out.count.copy_(took_part.sum())
    return took_part
