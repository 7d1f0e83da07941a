"""What a data set is: tensors of a training and a test part; and a part on its way there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Data:
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int | None = None
    """How many classes labels [N] can be of; None where only the labels tell."""

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        return (self.x_train, self.y_train) if name == "train" else (self.x_test, self.y_test)


@dataclass(frozen=True)
class Part:
    """Samples whose inputs are made last, when it is known which are asked for: a thousand of 60,000 cost little."""

    raw: Tensor
    """As loaded, [M, …]."""
    y: Tensor
    """Labels or targets of the samples, [N, …]."""
    rows: tuple[Tensor, ...] | None = None
    """Which of `raw` each sample shows, [N] each, side by side along the last dimension; None: all, in their order."""
    pixels: bool = False
    """Whether whole numbers are shades from 0 to 255, and become real numbers from 0 to 1."""

    def __len__(self) -> int:
        return len(self.y)

    @property
    def real(self) -> bool:
        """Whether inputs are real numbers, and no tokens."""
        return self.pixels or self.raw.is_floating_point()

    def chosen(self, which: Tensor) -> Part:
        """The samples with these numbers, in this order."""
        rows = (which,) if self.rows is None else tuple(row[which] for row in self.rows)
        return replace(self, y=self.y[which], rows=rows)

    def inputs(self) -> Tensor:
        """[N, …]"""
        x = self.raw if self.rows is None else torch.cat([self.raw[row] for row in self.rows], dim=-1)
        return x.float().div_(255) if self.pixels else x


@dataclass(frozen=True)
class Loaded:
    train: Part
    test: Part
    classes: int | None
    """How many classes the labels [N] are of; None where the targets are no labels."""


def on(data: Data, dtype: torch.dtype, device: torch.device) -> Data:
    """The data on a device; inputs and targets that are real numbers in the landscape's precision."""

    def place(v: Tensor) -> Tensor:
        return v.to(device, dtype if v.is_floating_point() else None).contiguous()

    x_train, y_train, x_test, y_test = map(place, (data.x_train, data.y_train, data.x_test, data.y_test))
    return Data(x_train, y_train, x_test, y_test, data.classes)
