"""Paths between two points: straight, at interpolated norm (elementary-walkers), and along the great circle.

    linear      (1 - t) a + t b
    spherical   the same direction, at the norm |(1 - t) |a| + t |b||
    slerp       the direction turned by t of the angle between a and b, at the same norm

The original's `spherical_convex_combination` is `spherical`, but for the outer absolute value: outside [0, 1] the
interpolated norm can be negative, which there turned the point around. A path between equal points stays where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Path = Literal["linear", "spherical", "slerp"]

NO_ANGLE = 1e-9
"""The sine below which two directions count as parallel."""
ROWS_AT_ONCE = 4  # on a CPU: with all samples of a small network in the cache; more are no faster
ROWS_ON_GPU = 16
NUMBERS_AT_ONCE = 1 << 22  # 32 MB of float64


def rows_at_once(theta: Tensor) -> int:
    """How many points like `theta: [P]` of a path or plane are made and measured together."""
    return max(1, min(ROWS_ON_GPU if theta.is_cuda else ROWS_AT_ONCE, NUMBERS_AT_ONCE // len(theta)))


def evenly(first: float, last: float, points: int) -> list[float]:
    """Numbers from first to last, each rounded once: 0 and 1 are met exactly where they are among them."""
    n = points - 1
    return [(first * (n - i) + last * i) / n for i in range(points)]


def points_between(a: Tensor, b: Tensor, t: Tensor, path: Path) -> Tensor:
    """Points [T, P] at the parameters `t: [T]` of a path from a (t = 0) to b (t = 1).

    `a` and `b` are [P], or [T, P] for T paths with a point of each. What has no direction (a = -b halfway) is at 0.
    """
    t = t[:, None]
    if path == "linear":
        return (1 - t) * a + t * b
    direction = _unit((1 - t) * a + t * b) if path == "spherical" else _turned(_unit(a), _unit(b), t)
    return direction.mul_(norm_between(_norm(a), _norm(b), t).abs_())


def norm_between(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The interpolated norm, (1 - t) |a| + t |b|: outside [0, 1] it can be negative."""
    return (1 - t) * a + t * b


def _norm(a: Tensor) -> Tensor:
    return a.norm(dim=-1, keepdim=True)


def _unit(a: Tensor) -> Tensor:
    """a / |a|, and 0 for 0."""
    norm = _norm(a)
    return a / norm.where(norm != 0, 1.0)


def _turned(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Unit vectors, slerp(a, b; t) of unit vectors a, b (Shoemake, "Animating rotation with quaternion curves", 1985).

    Straight where there is no one great circle: a and b parallel or opposite, or one of them 0.
    """
    import torch

    angle = 2 * torch.atan2(_norm(a - b), _norm(a + b))  # exact also for small angles
    sine = torch.sin(angle)
    turned = torch.sin((1 - t) * angle).div(sine) * a + torch.sin(t * angle).div(sine) * b
    straight = (sine < NO_ANGLE) | (_norm(a) == 0) | (_norm(b) == 0)
    return _unit((1 - t) * a + t * b).where(straight, turned) if bool(straight.any()) else turned
