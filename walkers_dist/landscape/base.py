"""What a landscape is: a function of flat parameter vectors.

A user's own landscape subclasses `Landscape`, sets `size` and writes `loss`; gradients and Hessian products then come
from automatic differentiation. Everything else may be overridden where a faster form is known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.landscape.dense import Dense
from walkers_dist.landscape.twice import NO_GRADIENT, pull, slope

if TYPE_CHECKING:
    from torch import nn

Minibatch = Callable[[Tensor, int], Tensor]
"""`(X: [K, P], t) -> g: [K, P]`, each row on its own minibatch t; the result is overwritten by the next call."""


@dataclass(frozen=True)
class Figures:
    """What is measured at points `theta: [K, P]` on one split of the data."""

    loss: Tensor  # [K]
    grad_norm: Tensor  # [K]
    accuracy: Tensor  # [K], nan where there is no such thing


class Landscape(ABC):
    """Loss, accuracy and gradient of a batch of points `theta: [K, P]`; Hessian products at one point `theta: [P]`.

    `walkers` names the walker of each row where the surface differs between walkers; None is the common surface.
    """

    size: int
    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")
    seed: int = 0
    splits: tuple[str, ...] = ("train",)
    train_size: int | None = None
    output_bias: slice | None = None
    """Where the bias of the output layer lies in a point [P]; None where there is none."""
    filters: Sequence[int] | None = None
    """Lengths of the filters that a point [P] consists of, one after the other; None where it is one whole."""
    blocks: Mapping[str, slice] | None = None
    """Where each named parameter lies in a point [P]; None where it is one whole."""

    @abstractmethod
    def loss(self, theta: Tensor, *, split: str = "train", walkers: Sequence[str] | None = None) -> Tensor:
        """Loss [K] at points [K, P]; differentiable unless `sums` and `hvp_at` are overridden too."""

    def accuracy(self, theta: Tensor, *, split: str = "train") -> Tensor:
        """Share of the samples that are classified right, [K]; nan where there is no such thing."""
        return theta.new_full((len(theta),), torch.nan)

    @torch.no_grad()
    def values(self, theta: Tensor, *, split: str = "train") -> tuple[Tensor, Tensor]:
        """Loss and accuracy, both [K], without derivatives."""
        return self.loss(theta, split=split), self.accuracy(theta, split=split)

    def answers(self, theta: Tensor, *, split: str = "train") -> Tensor | None:
        """The class [K, N] that each of the points [K, P] gives each sample; None where nothing is classified."""
        return None

    def ensemble(self, theta: Tensor, *, split: str = "train") -> tuple[float, float] | None:
        """Loss and accuracy of the mean of the outputs of points [K, P]; None where there are no outputs.

        What belongs to points, a penalty, is the mean of theirs: the ensemble of one point has the point's own values.
        """
        return None

    def start(self, walker: str) -> Tensor:
        """Where this walker starts, [P]: by default drawn from N(0, 1) in its own stream."""
        from walkers_dist.landscape.streams import stream

        theta = torch.randn(self.size, generator=stream(self.seed, walker, "init"), dtype=torch.float32)
        return theta.to(self.device, self.dtype)

    def center_start(self) -> Tensor | None:
        """Where the center starts, [P]; None is the mean of the walkers' starts."""
        return None

    def grad(self, theta: Tensor, *, split: str = "train", walkers: Sequence[str] | None = None) -> Tensor:
        """Gradient [K, P] of the loss on the whole split."""
        sums = self.sums(theta, split=split, walkers=walkers)
        return self.mean_gradient(theta, sums).contiguous()

    def minibatches(self, walkers: Sequence[str], batch_size: int | None) -> Minibatch:
        """The stochastic gradient of these walkers; `batch_size` None is the whole training set."""
        return lambda X, t: self.grad(X, walkers=walkers)

    def hvp(self, theta: Tensor, V: Tensor) -> Tensor:
        """Hessian of the training loss at `theta: [P]` times each direction of `V: [C, P]`."""
        return self.hvp_at(theta)(V)

    def hvp_at(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """`V: [C, P] -> H V: [C, P]` at one point, prepared once; here by a retained graph of the gradient."""
        point = theta.detach().clone().requires_grad_(True)
        g = slope(lambda at: self._differentiable(self.loss(at[None])).sum(), point)
        if not g.requires_grad:  # a loss that is linear in theta
            return torch.zeros_like
        return lambda V: torch.stack([pull(g, point, v) for v in V])

    def share(self, i: int, n: int) -> Landscape:
        """What share `i` of `n` of the samples makes of this surface, for its second derivatives alone: products of
        all shares add up to those of the whole. A landscape without samples is share 0."""
        return Nothing(self) if i else self

    def dense_at(self, theta: Tensor) -> Dense | None:
        """What gives the matrix of second derivatives at `theta: [P]` whole; None where products are as fast."""
        return None

    def gauss_newton_at(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """As `hvp_at`, for the Gauss-Newton part of the Hessian, J' (d2 loss / d outputs2) J and the penalty's."""
        raise UserError(f"a {type(self).__name__} landscape has no outputs, so it has no Gauss-Newton matrix")

    def covariance_at(self, theta: Tensor, *, centered: bool = False) -> Callable[[Tensor], Tensor]:
        """As `hvp_at`, for the second moment of the samples' gradients, (1/N) sum_i g_i g_i'; less g g' if centered."""
        raise UserError(f"a {type(self).__name__} landscape has no samples, so its gradient has no covariance")

    def sums(
        self,
        theta: Tensor,
        *,
        split: str = "train",
        walkers: Sequence[str] | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> Tensor:
        """Sums over share `i` of `n` of the samples: [K, P + 3], gradient, loss, correct answers, samples.

        Sums of all shares add up to those of the whole split. A landscape without samples counts as one.
        """
        out = theta.new_zeros(len(theta), self.size + 3)
        if share[0] == 0:
            point = theta.detach().requires_grad_(True)
            with torch.enable_grad():
                loss = self._differentiable(self.loss(point, split=split, walkers=walkers))
                (g,) = torch.autograd.grad(loss.sum(), point)
            out[:, : self.size] = g
            out[:, self.size] = loss.detach()
            out[:, self.size + 1] = self.accuracy(theta, split=split)
            out[:, self.size + 2] = 1
        return out

    def _differentiable(self, loss: Tensor) -> Tensor:
        if not loss.requires_grad:
            raise UserError(f"the loss of a {type(self).__name__} landscape has no gradient: {NO_GRADIENT}")
        return loss

    def figures(self, theta: Tensor, sums: Tensor) -> Figures:
        """Loss, gradient norm and accuracy from the sums over all samples of a split, which are used up."""
        samples = sums[:, -1]
        return Figures(
            loss=sums[:, -3] / samples + self._penalty(theta),
            grad_norm=self.mean_gradient(theta, sums).norm(dim=1),
            accuracy=sums[:, -2] / samples,
        )

    def mean_gradient(self, theta: Tensor, sums: Tensor) -> Tensor:
        """Gradient [K, P] of the loss from the sums over all samples of a split, in their place."""
        return sums[:, : self.size].div_(sums[:, -1:])

    def _penalty(self, theta: Tensor) -> Tensor | float:
        return 0.0

    def module(self, theta: Tensor) -> nn.Module:
        """A `torch.nn.Module` that holds these parameters, [P]."""
        raise UserError(f"a {type(self).__name__} landscape has no torch module")

    def steps_per_epoch(self, batch_size: int | None) -> int | None:
        """Minibatches in an epoch (the last partial one is dropped); None where there are no samples.

        Raises `UserError` where the batch is larger than the data.
        """
        if self.train_size is None:
            return None
        if batch_size is not None and batch_size > self.train_size:
            raise UserError(f"dynamics.batch_size = {batch_size}: there are only {self.train_size} training samples")
        return self.train_size // (batch_size or self.train_size)


class Nothing(Landscape):
    """Shares of a landscape that other shares leave nothing to."""

    def __init__(self, whole: Landscape) -> None:
        self.size, self.dtype, self.device, self.blocks = whole.size, whole.dtype, whole.device, whole.blocks

    def loss(self, theta: Tensor, *, split: str = "train", walkers: Sequence[str] | None = None) -> Tensor:
        return theta.new_zeros(len(theta))

    def hvp_at(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        return torch.zeros_like

    def gauss_newton_at(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        return torch.zeros_like

    def covariance_at(self, theta: Tensor, *, centered: bool = False) -> Callable[[Tensor], Tensor]:
        return torch.zeros_like
