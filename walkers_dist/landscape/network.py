"""A network on a data set: the landscape that most experiments walk on.

Loss = mean over the samples + l2 / 2 |theta|^2, on the whole split or on a minibatch per walker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from walkers_dist.landscape.base import Landscape, Minibatch
from walkers_dist.landscape.data import Data
from walkers_dist.landscape.losses import Loss
from walkers_dist.landscape.model import Bound, Model
from walkers_dist.landscape.streams import stream

ROWS_AT_ONCE = 16  # more rows than this at a time are slower on a CPU: they leave the cache
NUMBERS_AT_ONCE = 1 << 21  # of the widest layer, over rows and samples


class Network(Landscape):
    splits = ("train", "test")

    def __init__(
        self,
        model: Model,
        loss: Loss,
        data: Data,
        *,
        l2: float = 0.0,
        init_std: float | None = None,
        same_start: bool = True,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.net, self.criterion, self.l2 = model, loss, l2
        self.init_std, self.same_start = init_std, same_start
        self.seed, self.dtype, self.device = seed, dtype, data.x_train.device
        self.size, self.train_size = model.size, len(data.x_train)
        self.inputs = {split: data.split(split)[0] for split in self.splits}
        self.targets = {
            split: loss.targets(data.split(split)[1], model.output_shape, dtype) for split in self.splits
        }

    # ---- the surface on a whole split -------------------------------------------------------------------------

    def loss(self, theta: Tensor, *, split: str = "train", walkers: Sequence[str] | None = None) -> Tensor:
        samples = len(self.inputs[split])
        value = self._over(theta, split, lambda bound, x, y: self.criterion.value(bound.outputs(x), y) * x.shape[1])
        return value / samples + self._penalty(theta)

    def accuracy(self, theta: Tensor, *, split: str = "train") -> Tensor:
        samples = len(self.inputs[split])
        return self._over(theta, split, lambda bound, x, y: self.criterion.correct(bound.outputs(x), y)) / samples

    def _over(self, theta: Tensor, split: str, figure: Callable[[Bound, Tensor, Tensor], Tensor]) -> Tensor:
        """Sum a figure [K] over the samples of a split, a few rows and samples at a time."""
        out = []
        for rows in theta.split(ROWS_AT_ONCE):
            bound = self.net.bind(rows)
            parts = [figure(bound, x, y) for x, y in self._chunks(len(rows), split)]
            out.append(torch.stack(parts).sum(0))
        return torch.cat(out)

    def _chunks(self, K: int, split: str, share: tuple[int, int] = (0, 1)) -> Iterator[tuple[Tensor, Tensor]]:
        """Share i of n of a split, as inputs [K, B, …] without a copy and targets [1, B, …]."""
        x, y = self.inputs[split], self.targets[split]
        i, n = share
        first, last = len(x) * i // n, len(x) * (i + 1) // n
        step = max(1, NUMBERS_AT_ONCE // (K * self.net.width))
        for at in range(first, last, step):
            to = min(at + step, last)
            yield x[at:to].expand(K, *x[at:to].shape), y[None, at:to]

    def sums(
        self,
        theta: Tensor,
        *,
        split: str = "train",
        walkers: Sequence[str] | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> Tensor:
        out = theta.new_zeros(len(theta), self.size + 3)
        for rows, total in zip(theta.split(ROWS_AT_ONCE), out.split(ROWS_AT_ONCE), strict=True):
            g = torch.empty_like(rows)
            bound = self.net.bind(rows, g)
            for x, y in self._chunks(len(rows), split, share):
                n = x.shape[1]
                outputs = bound.gradient(x, y, self.criterion)
                total[:, : self.size].add_(g, alpha=n)
                total[:, -3].add_(self.criterion.value(outputs, y), alpha=n)
                total[:, -2].add_(self.criterion.correct(outputs, y))
                total[:, -1].add_(n)
        return out

    def _mean_gradient(self, theta: Tensor, sums: Tensor) -> Tensor:
        g = super()._mean_gradient(theta, sums)
        return g.add_(theta, alpha=self.l2) if self.l2 else g

    def _penalty(self, theta: Tensor) -> Tensor | float:
        return self.l2 / 2 * theta.square().sum(-1) if self.l2 else 0.0

    def hvp_at(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        samples = self.train_size or 1
        parts = []
        for x, y in self._chunks(self.DIRECTIONS_AT_ONCE, "train"):
            parts.append((self.net.hvp_at(theta, x[0], y[0], self.criterion), x.shape[1] / samples))

        def product(V: Tensor) -> Tensor:
            HV = V * self.l2
            for rows, out in zip(V.split(self.DIRECTIONS_AT_ONCE), HV.split(self.DIRECTIONS_AT_ONCE), strict=True):
                for part, weight in parts:
                    out.add_(part(rows), alpha=weight)
            return HV

        return product

    DIRECTIONS_AT_ONCE = 32  # more leave the cache

    # ---- minibatches ------------------------------------------------------------------------------------------

    def minibatches(self, walkers: Sequence[str], batch_size: int | None) -> Minibatch:
        if batch_size is None:
            return super().minibatches(walkers, None)
        order = _Order(self.seed, walkers, self.train_size or 0, batch_size, self.device)
        x, y = self.inputs["train"], self.targets["train"]
        K, B = len(walkers), batch_size
        x_t, y_t = x.new_empty(K * B, *x.shape[1:]), y.new_empty(K * B, *y.shape[1:])
        x_batch, y_batch = x_t.view(K, B, *x.shape[1:]), y_t.view(K, B, *y.shape[1:])
        bindings: dict[int, tuple[Tensor, Tensor, Bound]] = {}

        def gradient(X: Tensor, t: int) -> Tensor:
            if X.data_ptr() not in bindings:  # views are made once for each place that holds rows
                g = torch.empty_like(X)
                bindings[X.data_ptr()] = (X, g, self.net.bind(X, g))
            _, g, bound = bindings[X.data_ptr()]
            chosen = order.batch(t)
            torch.index_select(x, 0, chosen, out=x_t)
            torch.index_select(y, 0, chosen, out=y_t)
            bound.gradient(x_batch, y_batch, self.criterion)
            return g.add_(X, alpha=self.l2) if self.l2 else g

        return gradient

    # ---- starts -----------------------------------------------------------------------------------------------

    def start(self, walker: str) -> Tensor:
        name = "all" if self.same_start else walker
        theta = self.net.start(stream(self.seed, name, "init"), self.init_std)
        return theta.to(self.device, self.dtype)

    def center_start(self) -> Tensor | None:
        return self.start("center") if self.same_start else None

    def module(self, theta: Tensor) -> nn.Module:
        return self.net.module(theta)


class _Order:
    """Each walker's own order of the samples: a new permutation every epoch, the last partial batch dropped."""

    def __init__(self, seed: int, walkers: Sequence[str], samples: int, B: int, device: torch.device) -> None:
        self.seed, self.walkers, self.samples, self.B, self.device = seed, walkers, samples, B, device
        self.epoch, self.batches = -1, torch.empty(0)

    def batch(self, t: int) -> Tensor:
        """Sample numbers of step t, [K * B], walker after walker."""
        per_epoch = self.samples // self.B
        epoch, number = divmod(t, per_epoch)
        if epoch != self.epoch:
            orders = [
                torch.randperm(self.samples, generator=stream(self.seed, walker, "order", epoch))
                for walker in self.walkers
            ]
            used = torch.stack(orders)[:, : per_epoch * self.B].view(len(orders), per_epoch, self.B)
            self.batches = used.transpose(0, 1).reshape(per_epoch, -1).to(self.device)
            self.epoch = epoch
        return self.batches[number]
