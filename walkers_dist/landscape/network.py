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

# What a CPU takes at a time: more leaves its cache, less is slow to start.
ROWS_AT_ONCE = 16
NUMBERS_AT_ONCE = 1 << 18  # of the widest layer, over rows (or directions) and samples
STEP_AT_ONCE = 1 << 20  # of parameters, gradients and inputs of a step
GPU = 8  # times as many numbers and directions on a GPU


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
        self.targets = {split: loss.targets(data.split(split)[1], model.output_shape, dtype) for split in self.splits}

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
        step = max(1, self._at_once(NUMBERS_AT_ONCE) // ((K if self.net.batched else 1) * self.net.width))
        for at in range(first, last, step):
            to = min(at + step, last)
            yield x[at:to].expand(K, *x[at:to].shape), y[None, at:to]

    def _at_once(self, on_cpu: int) -> int:
        return on_cpu * GPU if self.device.type == "cuda" else on_cpu

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
            bound = self.net.bind(rows, total[:, : self.size])
            for x, y in self._chunks(len(rows), split, share):
                n = x.shape[1]
                outputs = bound.gradient(x, y, self.criterion, add=True)
                total[:, -3].add_(self.criterion.value(outputs, y), alpha=n)
                total[:, -2].add_(self.criterion.correct(outputs, y))
                total[:, -1].add_(n)
        return out

    def _mean_gradient(self, theta: Tensor, sums: Tensor) -> Tensor:
        g = super()._mean_gradient(theta, sums)
        return g.add_(theta, alpha=self.l2) if self.l2 else g

    def _penalty(self, theta: Tensor) -> Tensor | float:
        return self.l2 / 2 * torch.linalg.vecdot(theta, theta) if self.l2 else 0.0

    def hvp_at(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        samples = self.train_size or 1
        directions = self._at_once(self.DIRECTIONS_AT_ONCE)
        parts = []
        for x, y in self._chunks(directions, "train"):
            parts.append((self.net.hvp_at(theta, x[0], y[0], self.criterion), x.shape[1] / samples))

        def product(V: Tensor) -> Tensor:
            HV = V * self.l2
            for rows, out in zip(V.split(directions), HV.split(directions), strict=True):
                for part, weight in parts:
                    out.add_(part(rows), alpha=weight)
            return HV

        return product

    DIRECTIONS_AT_ONCE = 4

    # ---- minibatches ------------------------------------------------------------------------------------------

    def minibatches(self, walkers: Sequence[str], batch_size: int | None) -> Minibatch:
        if batch_size is None:
            return super().minibatches(walkers, None)
        order = _Order(self.seed, walkers, self.train_size or 0, batch_size, self.device)
        x, y = self.inputs["train"], self.targets["train"]
        at_once = max(1, self._at_once(STEP_AT_ONCE) // (2 * self.size + batch_size * x[0].numel()))
        x_t, y_t = (v.new_empty(min(at_once, len(walkers)), batch_size, *v.shape[1:]) for v in (x, y))

        def bind(X: Tensor) -> tuple[Tensor, list[_Group]]:
            g = torch.empty_like(X)
            groups = zip(X.split(at_once), g.split(at_once), strict=True)
            return g, [_Group(self.net.bind(rows, out), x_t[: len(rows)], y_t[: len(rows)]) for rows, out in groups]

        bindings: dict[int, tuple[Tensor, Tensor, list[_Group]]] = {}

        def gradient(X: Tensor, t: int) -> Tensor:
            if X.data_ptr() not in bindings:  # views are made once for each place that holds rows
                bindings[X.data_ptr()] = (X, *bind(X))
            _, g, groups = bindings[X.data_ptr()]
            for group, chosen in zip(groups, order.batch(t).split(at_once * batch_size), strict=True):
                torch.index_select(x, 0, chosen, out=group.inputs)
                torch.index_select(y, 0, chosen, out=group.targets)
                group.bound.gradient(group.x, group.y, self.criterion)
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


class _Group:
    """Rows that take their step together, and where their minibatches lie: [K, B, …], and row after row [K * B, …]."""

    def __init__(self, bound: Bound, x: Tensor, y: Tensor) -> None:
        self.bound, self.x, self.y = bound, x, y
        self.inputs, self.targets = x.flatten(0, 1), y.flatten(0, 1)


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
