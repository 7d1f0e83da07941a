"""The figures of points as cells of a table, empty where a landscape has no such figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from walkers_dist.records.tables import FIGURES, VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from walkers_dist.landscape.base import Landscape

Cells = list[float | None]
ROWS = ("norm", *FIGURES)


def cells(figures: Sequence[float], columns: Sequence[str], splits: Sequence[str]) -> Cells:
    """One point's figures: those of test data are empty where there is none, accuracy where nothing can be right."""
    return [
        None
        if (column.startswith("test") and "test" not in splits) or (column.endswith("accuracy") and math.isnan(value))
        else value
        for column, value in zip(columns, figures, strict=True)
    ]


def figures_of(landscape: Landscape, theta: Tensor) -> list[Cells]:
    """Norm, then loss, gradient norm and accuracy on training and test data, of points [K, P]: K times 7 cells."""
    measured = measure(landscape, theta, lambda split: landscape.sums(theta, split=split))
    return [cells(row, ROWS, landscape.splits) for row in measured.tolist()]


def measure(landscape: Landscape, theta: Tensor, sums: Callable[[str], Tensor]) -> Tensor:
    """The same as numbers [K, 7] in float64, nan where there are none, from the sums over each split that there is."""
    import torch

    columns = [theta.norm(dim=1)]
    for split in ("train", "test"):
        if split not in landscape.splits:
            columns += [theta.new_full((len(theta),), torch.nan)] * 3
            continue
        found = landscape.figures(theta, sums(split))
        columns += [found.loss, found.grad_norm, found.accuracy]
    return torch.stack(columns, dim=1).double()


def values_of(landscape: Landscape, theta: Tensor) -> list[Cells]:
    """Loss and accuracy on training and test data, without gradients, of points [K, P]: K times 4 cells."""
    import torch

    columns: list[Tensor] = []
    for split in ("train", "test"):
        if split in landscape.splits:
            columns += landscape.values(theta, split=split)
        else:
            columns += [theta.new_full((len(theta),), torch.nan)] * 2
    return [cells(row, VALUES, landscape.splits) for row in torch.stack(columns, dim=1).double().tolist()]
