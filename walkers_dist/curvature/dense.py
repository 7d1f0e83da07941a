"""Matrices that a landscape assembles whole, faster than from products."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from walkers_dist.landscape.base import Landscape
from walkers_dist.landscape.dense import Dense, Part


@dataclass(frozen=True)
class Assembled:
    """The Hessian, its Gauss-Newton part or the residual at a point: called, it gives the matrix [P, P]."""

    at: Dense
    part: Part

    def __call__(self) -> Tensor:
        return self.at.matrix(self.part)


def assembled(landscape: Landscape, theta: Tensor, part: Part) -> Assembled | None:
    """The matrix of `part` at `theta: [P]`; None where this landscape knows no faster way than products."""
    at = landscape.dense_at(theta)
    return Assembled(at, part) if at else None
