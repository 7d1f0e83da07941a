"""Soft labels (Hinton et al., 2015): probabilities over the classes in place of one class."""

from __future__ import annotations

import torch
from torch import Tensor


def softened(y: Tensor, classes: int, *, p: float, q: float) -> Tensor:
    """[N, classes] with p at the label and q elsewhere. In double precision: the landscape's own comes later."""
    soft = torch.full((len(y), classes), q, dtype=torch.float64)
    return soft.scatter_(1, y.long()[:, None], p)
