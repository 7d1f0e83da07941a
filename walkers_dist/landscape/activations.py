"""Activations with the derivatives that a hand-written network needs; `h = f(z)`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    f: Callable[[Tensor], Tensor]
    """h = f(z), in place where `backward` needs only h."""
    backward: Callable[[Tensor, Tensor], Tensor]
    """(dh, saved) -> dz = dh f'(z)."""
    saves_input: bool
    """Whether `saved` is z; else it is h."""
    first: Callable[[Tensor], Tensor]
    """f'(z) from what was saved."""
    second: Callable[[Tensor], Tensor] | None
    """f''(z) from what was saved; None where it is zero almost everywhere."""
    module: type[nn.Module]


def _gelu_first(z: Tensor) -> Tensor:  # Phi(z) + z phi(z)
    return torch.special.ndtr(z) + z * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


def _gelu_second(z: Tensor) -> Tensor:  # (2 - z^2) phi(z)
    return (2 - z.square()) * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


ACTIVATIONS = {
    "relu": Activation(
        f=torch.relu_,
        backward=lambda dh, h: aten.threshold_backward(dh, h, 0),
        saves_input=False,
        first=lambda h: (h > 0).to(h.dtype),
        second=None,
        module=nn.ReLU,
    ),
    "tanh": Activation(
        f=torch.tanh_,
        backward=lambda dh, h: aten.tanh_backward(dh, h),
        saves_input=False,
        first=lambda h: 1 - h.square(),
        second=lambda h: -2 * h * (1 - h.square()),
        module=nn.Tanh,
    ),
    "gelu": Activation(
        f=nn.functional.gelu,
        backward=lambda dh, z: aten.gelu_backward(dh, z),
        saves_input=True,
        first=_gelu_first,
        second=_gelu_second,
        module=nn.GELU,
    ),
}
