"""The highest loss within a ball or a box around each of many points, by ascent from several starts at once.

In coordinates z where the region is the unit ball or the cube [-1, 1]^P, theta = x + scale z, a move is

    z <- project(z + t u),      u along the gradient in z, as long as the region is wide,

kept only where the loss rises; then t grows, else it is halved. As t grows, z becomes the highest point of the tangent
plane: u on the ball, which is a power iteration for the top eigenvector of the Hessian where the gradient at x
vanishes, and a corner of the cube. As t falls it is gradient ascent with a line search, which is what a surface that
also curves downwards needs.

Each point has three starts: itself, from which the gradient leads, and a random point on the boundary with its
opposite, for a point where the gradient vanishes. So the highest point found is never below the start.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from torch import Tensor

    Function = Callable[[Tensor], Tensor]

STARTS = 3
LONGER, SHORTER = 1.3, 0.5
"""What becomes of t: bolder growth loses more moves than it gains where the surface curves downwards too."""
STANDING = 1e-6
"""After a move that did not rise, one shorter than this, in radii, is not tried: there is no higher point near."""
LONGEST = 1e6
"""The largest t: beyond it a move leads to the highest point of the tangent plane and nowhere else."""


class Region(ABC):
    """A neighbourhood of each of the points `x: [K, P]`, theta = x + scale z."""

    scale: Tensor  # [K, P]
    radius: float  # of the region of z, in the Euclidean sense

    def __init__(self, x: Tensor) -> None:
        self.x = x

    @abstractmethod
    def project(self, z: Tensor) -> Tensor:
        """The nearest points [R, P] of the region."""

    def unit(self, g: Tensor) -> Tensor:
        """The directions of `g: [R, P]`, as long as the region is wide; zero stays zero."""
        import torch

        return torch.nn.functional.normalize(g, eps=torch.finfo(g.dtype).tiny).mul_(self.radius)


class Ball(Region):
    """|theta - x| <= epsilon."""

    def __init__(self, x: Tensor, epsilon: float) -> None:
        super().__init__(x)
        self.scale, self.radius = x.new_tensor(epsilon).expand_as(x), 1.0

    def project(self, z: Tensor) -> Tensor:
        return z / z.norm(dim=1, keepdim=True).clamp(min=1)


class Box(Region):
    """|theta_j - x_j| <= epsilon (|x_j| + 1)."""

    def __init__(self, x: Tensor, epsilon: float) -> None:
        super().__init__(x)
        self.scale, self.radius = epsilon * (x.abs() + 1), sqrt(x.shape[1])

    def project(self, z: Tensor) -> Tensor:
        return z.clamp(-1, 1)


@dataclass(frozen=True)
class Top:
    """The highest points that were found."""

    theta: Tensor  # [K, P]
    start: Tensor  # [K], the loss at x
    loss: Tensor  # [K]
    distance: Tensor  # [K], Euclidean, from x
    moves: Tensor  # [K], that the best of the ascents took


def climb(loss: Function, grad: Function, region: Region, streams: Sequence[torch.Generator], moves: int) -> Top:
    """Ascend `loss: [R, P] -> [R]`, by `grad: [R, P] -> [R, P]`, at most so many moves, one loss a move.

    Each point draws from its own stream. What belongs to a point that is not finite is nan.
    """
    import torch

    with torch.no_grad():
        x, K = region.x, len(region.x)
        of = torch.arange(K, device=x.device).repeat(STARTS)  # row -> point: all points, start after start
        kicks = torch.stack([torch.randn(x.shape[1], generator=g, dtype=torch.float64) for g in streams]).to(x)
        kicks = region.project(region.unit(kicks))
        z = torch.cat([torch.zeros_like(x), kicks, -kicks])

        def theta(rows: Tensor, z: Tensor) -> Tensor:
            return torch.addcmul(x[of[rows]], region.scale[of[rows]], z)

        rows = torch.arange(len(z), device=x.device)
        f = loss(theta(rows, z))
        start = f[:K].clone()
        u, t, made = torch.zeros_like(z), torch.ones_like(f), torch.zeros_like(of)
        rose = f.isfinite()
        rows = risen = rows[rose]
        for _ in range(moves):
            if len(risen):
                u[risen] = region.unit(region.scale[of[risen]] * grad(theta(risen, z[risen])))
            to = region.project(z[rows] + t[rows, None] * u[rows])
            moving = rose[rows] | ((to - z[rows]).norm(dim=1) > STANDING * region.radius)
            rows, to = rows[moving], to[moving]
            if not len(rows):
                break
            there = loss(theta(rows, to))
            rises = there > f[rows]
            risen = rows[rises]
            z[risen], f[risen] = to[rises], there[rises]
            t[rows] = (t[rows] * torch.where(rises, LONGER, SHORTER).to(t)).clamp(max=LONGEST)
            rose[rows] = rises
            made[rows] += 1

        best = f.nan_to_num(nan=-torch.inf).view(STARTS, K).argmax(dim=0) * K + of[:K]
        known = start.isfinite()
        return Top(
            theta=theta(best, z[best]).where(known[:, None], torch.nan),
            start=start,
            loss=f[best].where(known, torch.nan),
            distance=(region.scale * z[best]).norm(dim=1).where(known, torch.nan),
            moves=made[best],
        )
