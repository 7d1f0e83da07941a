"""What a network must do for a landscape: outputs and gradients of a batch of parameter vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from walkers_dist.landscape.dense import Dense
from walkers_dist.landscape.losses import Loss
from walkers_dist.landscape.products import Product

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
    output_bias: slice | None = None
    """Where the bias of the output layer lies in a point [P]; None where there is none."""
    blocks: Mapping[str, slice]
    """Where each parameter of the torch module lies in a point [P], by its name there."""
    filters: Sequence[int]
    """Lengths of the filters, one after the other: the rows of each weight; other parameters are one each."""

    @abstractmethod
    def bind(self, theta: Tensor, grad: Tensor | None = None) -> Bound:
        """The network at `theta: [K, P]`, with its gradients going to `grad: [K, P]`."""

    @abstractmethod
    def hvp_at(self, theta: Tensor, x: Tensor, targets: Tensor, loss: Loss, *, many: bool = False) -> Product:
        """`V: [C, P] -> H V: [C, P]`, H the Hessian of the mean loss over these samples at `theta: [P]`.

        `many`: it will be called so often that a preparation of seconds may pay.
        """

    def dense_at(self, theta: Tensor, x: Tensor, targets: Tensor, loss: Loss, l2: float) -> Dense | None:
        """What gives the matrix of second derivatives whole; None where products are as fast."""
        return None

    @abstractmethod
    def gauss_newton_at(self, theta: Tensor, x: Tensor, targets: Tensor, loss: Loss, *, many: bool = False) -> Product:
        """As `hvp_at`, for J' (d2 loss / d outputs2) J with J = d outputs / d theta."""

    @abstractmethod
    def covariance_at(self, theta: Tensor, x: Tensor, targets: Tensor, loss: Loss, *, many: bool = False) -> Product:
        """As `hvp_at`, for (1/B) sum_i g_i g_i' with g_i the gradient of sample i."""

    def held(self, theta: Tensor, x: Tensor) -> int:
        """Bytes that a prepared product holds for these samples, roughly; 0 where they are not worth counting."""
        return 0

    @abstractmethod
    def start(self, generator: torch.Generator, std: float | None) -> Tensor:
        """Initial parameters [P]: torch's default for the module, or N(0, std) for all of them."""

    @abstractmethod
    def module(self, theta: Tensor) -> nn.Module:
        """A torch module of its own that holds these parameters, [P]."""
