"""Losses: a mean over samples of outputs [K, B, C] against targets, with what a hand-written network needs of them.

A loss is made for the outputs it will see; it turns labels into the targets it works with once, so that hard labels,
soft labels and regression targets are one case.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from walkers_dist.config.errors import UserError
from walkers_dist.landscape.twice import differentiated, pull, slope
from walkers_dist.landscape.users import users_own


class Loss(ABC):
    def targets(self, y: Tensor, output_shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """What `value` compares with outputs of this shape (one sample's), from the labels or targets of the data."""
        return y

    @abstractmethod
    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over the samples, [K]."""

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """d value / d outputs, [K, B, C]."""
        z = outputs.detach().requires_grad_(True)
        with torch.enable_grad(), differentiated():
            return torch.autograd.grad(self.value(z, targets).sum(), z)[0]

    def curvature(self, outputs: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
        """The product `dz: [C', B, C] -> (d2 value / d outputs2) dz` at outputs [1, B, C]."""
        z = outputs.detach().requires_grad_(True)
        g = slope(lambda at: self.value(at, targets).sum(), z)
        if not g.requires_grad:
            return torch.zeros_like
        return lambda dz: torch.stack([pull(g, z, d[None])[0] for d in dz])

    def mean_output(self, outputs: Tensor) -> Tensor:
        """What the points [K, B, C] say together, [1, B, C]: the mean of their outputs."""
        return outputs.mean(0, keepdim=True)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How many samples are classified right, [K]; nan where the targets are no classes, or an output is nan."""
        if targets.is_floating_point() and targets.shape[-1] != outputs.shape[-1]:
            return outputs.new_full((len(outputs),), torch.nan)
        # `max`, not `argmax`, which takes 10 times as long where the last dimension is not contiguous.
        answer = targets.max(-1).indices if targets.is_floating_point() else targets
        best = outputs.max(-1)  # nan where one of the outputs is
        right = (best.indices == answer).sum(-1).to(outputs.dtype)
        return right.where(~best.values.isnan().flatten(1).any(1), torch.nan)


def _as_output(y: Tensor, output_shape: Sequence[int], dtype: torch.dtype, *, loss: str) -> Tensor:
    """Class numbers become unit vectors; targets that are vectors already must have the outputs' shape."""
    if not y.is_floating_point() and y.ndim == 1 and len(output_shape) == 1:
        classes, outputs = int(y.max()) + 1, output_shape[0]
        if y.min() < 0:
            raise UserError(f"landscape.loss = {loss}: labels go down to {int(y.min())}, and must count from 0")
        if classes > outputs:
            raise UserError(
                f"landscape.loss = {loss}: labels go up to {classes - 1}, but the model has {outputs} outputs"
            )
        return F.one_hot(y.long(), outputs).to(dtype)
    if tuple(y.shape[1:]) != tuple(output_shape):
        raise UserError(
            f"landscape.loss = {loss}: targets of shape {['N', *y.shape[1:]]} do not fit outputs of shape "
            f"{['N', *output_shape]}".replace("'", "")
        )
    return y.to(dtype)


def _softmax(z: Tensor) -> Tensor:
    """As `z.softmax(-1)`, which takes up to 5 times as long over ten classes on a CPU (half as long over a hundred)."""
    p = (z - z.amax(-1, keepdim=True)).exp_()
    return p.div_(p.sum(-1, keepdim=True))


class CrossEntropy(Loss):
    """-mean_b sum_c t_bc log softmax(z_b)_c, for hard labels and for probabilities t."""

    def targets(self, y: Tensor, output_shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        t = _as_output(y, output_shape, dtype, loss="cross_entropy")
        if not (t.sum(-1) - 1).abs().max() < 1e-3:
            raise UserError("landscape.loss = cross_entropy: targets are no probabilities, which sum to 1")
        return t

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        z = outputs - outputs.detach().amax(-1, keepdim=True)  # then -log softmax(z)_c = log sum exp z - z_c
        loss = z.exp().sum(-1).log() - (targets * z).sum(-1)  # a target sums to one
        return loss.flatten(1).sum(1) / outputs.shape[1]

    def mean_output(self, outputs: Tensor) -> Tensor:
        """The logarithm of the mean of their probabilities, which are outputs with these probabilities."""
        return outputs.log_softmax(-1).logsumexp(0, keepdim=True) - math.log(len(outputs))

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weight = 1.0 / outputs.shape[1]
        return _softmax(outputs).sub_(targets).mul_(weight)

    def curvature(self, outputs: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
        p = _softmax(outputs)
        weight = 1.0 / outputs.shape[1]

        def product(dz: Tensor) -> Tensor:  # (diag p - p p^T) dz
            pdz = p * dz
            return pdz.sub_(p * pdz.sum(-1, keepdim=True)).mul_(weight)

        return product


class SquaredError(Loss):
    """mean_b |z_b - t_b|^2 / 2."""

    def targets(self, y: Tensor, output_shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        self.classes = not y.is_floating_point()
        return _as_output(y, output_shape, dtype, loss="squared_error")

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().flatten(1).sum(1) / (2 * outputs.shape[1])

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets) / outputs.shape[1]

    def curvature(self, outputs: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda dz: dz / outputs.shape[1]

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if not self.classes:
            return outputs.new_full((len(outputs),), torch.nan)
        return super().correct(outputs, targets)


class UserLoss(Loss):
    """A user's `function(outputs, targets)`, the mean over samples, called for one point at a time."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], name: str) -> None:
        self.function, self.name = function, name

    def targets(self, y: Tensor, output_shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The data's own; the function is tried on two of them, so that a wrong one is known before the run."""
        some = y[None, :2]
        with users_own(f"landscape.loss = {self.name}"):
            self.value(torch.zeros(*some.shape[:2], *output_shape, dtype=dtype, device=y.device), some)
        return y

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        targets = targets.expand(len(outputs), *targets.shape[1:])
        rows = [self.function(z, y) for z, y in zip(outputs, targets, strict=True)]
        for row in rows:
            if not isinstance(row, Tensor) or row.ndim:
                kind = f"a tensor of shape {list(row.shape)}" if isinstance(row, Tensor) else type(row).__name__
                raise UserError(
                    f"landscape.loss = {self.name}: it must return one number as a tensor, the mean over samples, "
                    f"and returned {kind}"
                )
        return torch.stack(rows)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.is_floating_point() or targets.shape[1:] != outputs.shape[1:-1]:
            return outputs.new_full((len(outputs),), torch.nan)
        return super().correct(outputs, targets)
