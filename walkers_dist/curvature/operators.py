"""Symmetric matrices that are known by their products alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from walkers_dist.config.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from walkers_dist.landscape.base import Landscape


@dataclass(frozen=True)
class Operator:
    """A symmetric matrix [size, size] that is called: rows `V: [C, size]` -> rows `(A v): [C, size]`."""

    product: Callable[[Tensor], Tensor]
    size: int
    dtype: torch.dtype
    device: torch.device

    def __call__(self, V: Tensor) -> Tensor:
        return self.product(V)


def hessian(landscape: Landscape, theta: Tensor) -> Operator:
    """The Hessian of the training loss at `theta: [P]`, in the landscape's dtype and on its device.

    What can be prepared once for the point is prepared here. UserError if theta is not a point of this landscape.
    """
    if theta.shape != (landscape.size,):
        raise UserError(f"theta has shape {list(theta.shape)}: a point of this landscape is [{landscape.size}]")
    point = theta.detach().to(landscape.device, landscape.dtype)
    return Operator(landscape.hvp_at(point), landscape.size, landscape.dtype, landscape.device)
