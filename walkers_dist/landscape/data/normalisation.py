"""One mean and standard deviation for all inputs: of the training part, or of each part its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.landscape.data.base import Part


@dataclass(frozen=True)
class Scale:
    mean: Tensor
    std: Tensor

    def of(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def scales(train: Part, test: Part, how: str) -> tuple[Scale, Scale]:
    """The scale of the training and of the test part: that of the training part, or each its own (`split`)."""
    of_train = _measured(train)
    of_test = _measured(test) if how == "split" else of_train
    if not (of_train.std > 0 and of_test.std > 0):
        raise UserError(f"landscape.data.normalize = {how}: the inputs are all alike, or not finite; null leaves them")
    return of_train, of_test


def _measured(part: Part) -> Scale:
    if not part.pixels:
        return Scale(part.raw.mean(), part.raw.std(correction=0))
    count = part.raw.flatten().bincount(minlength=256).double()  # how often each shade is seen: no real copy is made
    shade, share = torch.arange(256).double() / 255, count / count.sum()
    mean = share @ shade
    return Scale(mean.float(), (share @ (shade - mean).square()).sqrt().float())
