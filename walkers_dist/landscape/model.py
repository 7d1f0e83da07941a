"""What a network must do for a landscape: outputs and gradients of a batch of parameter vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from walkers_dist.landscape.losses import Loss

if TYPE_CHECKING:
    import torch
    from torch import nn


class Bound(ABC):
    """A network at the points `theta: [K, P]`, its per-layer views made once: later changes in place are seen."""

    @abstractmethod
    def outputs(self, x: Tensor) -> Tensor:
        """Outputs [K, B, C] for inputs `x: [K, B, …]`, one batch per point."""

    @abstractmethod
    def gradient(self, x: Tensor, targets: Tensor, loss: Loss, *, add: bool = False) -> Tensor:
        """Write the gradient of the mean loss into the bound `grad: [K, P]`; returns the outputs [K, B, C].

        With `add` the gradient of the sum over the samples is added to what is there instead.
        """


class Model(ABC):
    """A network as a function of flat parameters, in the order of its torch module's `parameters()`."""

    size: int
    output_shape: tuple[int, ...]
    """Shape of one sample's output."""
    width: int
    """Numbers that one sample needs in the widest layer: decides how many are evaluated at once."""
    batched: bool = True
    """Whether points and directions are taken together; else one at a time."""

    @abstractmethod
    def bind(self, theta: Tensor, grad: Tensor | None = None) -> Bound:
        """The network at `theta: [K, P]`, with its gradients going to `grad: [K, P]`."""

    @abstractmethod
    def hvp_at(self, theta: Tensor, x: Tensor, targets: Tensor, loss: Loss) -> Callable[[Tensor], Tensor]:
        """`V: [C, P] -> H V: [C, P]`, H the Hessian of the mean loss over these samples at `theta: [P]`."""

    @abstractmethod
    def start(self, generator: torch.Generator, std: float | None) -> Tensor:
        """Initial parameters [P]: torch's default for the module, or N(0, std) for all of them."""

    @abstractmethod
    def module(self, theta: Tensor) -> nn.Module:
        """A torch module of its own that holds these parameters, [P]."""
