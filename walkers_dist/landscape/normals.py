"""Standard normal numbers for many walkers at once: each is a function of (seed, walker, purpose, step, place).

What `stream` gives one walker after the other, a generator that counts gives all rows in the same few operations, on
their own device, wherever the rows are. The i-th 64-bit word of a row is that of SplitMix64 from the row's own start
(Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014); its halves are the two uniform
numbers of Box and Muller's method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import tau

import torch
from torch import Tensor

from walkers_dist.landscape.streams import stream

AT_ONCE = 1 << 16  # words: some columns at a time stay in a CPU's cache


def _signed(word: int) -> int:
    return word - (1 << 64)


GOLDEN, FIRST, SECOND = (_signed(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
HALF = (1 << 32) - 1


def keys(seed: int, walkers: Sequence[str], purpose: str) -> Tensor:
    """Where the rows of these walkers start: [K], int64."""
    return torch.tensor([stream(seed, name, purpose).initial_seed() for name in walkers], dtype=torch.int64)


def normals(keys: Tensor, step: int, like: Tensor) -> Tensor:
    """Fresh standard normal numbers in shape, precision and device of `like: [K, P]`, row k from `keys[k]`."""
    K, P = like.shape
    words = (P + 1) // 2
    start = _mix(keys ^ step)[:, None]
    out = like.new_empty(K, words, 2)
    columns = words if like.is_cuda else max(1, AT_ONCE // K)
    for at in range(0, words, columns):
        part = out[:, at : at + columns]
        word = _mix(start + GOLDEN * torch.arange(at + 1, at + 1 + part.shape[1], device=like.device))
        radius = ((word >> 32) & HALF).to(like.dtype).add_(0.5).mul_(2.0**-32).log_().mul_(-2).clamp_(min=0).sqrt_()
        angle = (word & HALF).to(like.dtype).mul_(tau * 2.0**-32)
        torch.mul(radius, angle.cos(), out=part[..., 0])
        torch.mul(radius, angle.sin_(), out=part[..., 1])
    return out.view(K, -1)[:, :P]


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's finalizer; a shift to the right is made a logical one by its mask."""
    for shift, factor in ((30, FIRST), (27, SECOND)):
        z = (z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return z ^ ((z >> 31) & ((1 << 33) - 1))


@dataclass(frozen=True)
class Asked:
    """What a move asks at one step: the gradient of all rows, and random numbers of the walkers' own."""

    gradient: Callable[[Tensor], Tensor]
    keys: Tensor
    step: int

    def __call__(self, X: Tensor) -> Tensor:
        return self.gradient(X)

    def normal(self, like: Tensor) -> Tensor:
        return normals(self.keys, self.step, like)
