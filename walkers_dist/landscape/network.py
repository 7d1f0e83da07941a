"""A network on a data set: the landscape that most experiments walk on.

Loss = mean over the samples + l2 / 2 |theta|^2, on the whole split or on a minibatch per walker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from walkers_dist.landscape.base import Landscape, Minibatch
from walkers_dist.landscape.data import Data
from walkers_dist.landscape.dense import Dense
from walkers_dist.landscape.losses import Loss
from walkers_dist.landscape.model import Bound, Model
from walkers_dist.landscape.products import Product, fits, made
from walkers_dist.landscape.starting import StartFrom
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
        start_from: StartFrom | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.net, self.criterion, self.l2 = model, loss, l2
        self.init_std, self.same_start, self.start_from = init_std, same_start, start_from
        self.seed, self.dtype, self.device = seed, dtype, data.x_train.device
        self.size, self.train_size = model.size, len(data.x_train)
        self.output_bias, self.filters, self.blocks = model.output_bias, model.filters, model.blocks
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

    @torch.no_grad()
    def values(self, theta: Tensor, *, split: str = "train") -> tuple[Tensor, Tensor]:
        def both(bound: Bound, x: Tensor, y: Tensor) -> Tensor:
            outputs = bound.outputs(x)
            return torch.stack([self.criterion.value(outputs, y) * x.shape[1], self.criterion.correct(outputs, y)])

        loss, accuracy = self._over(theta, split, both).div_(len(self.inputs[split]))
        return loss + self._penalty(theta), accuracy

    @torch.no_grad()
    def answers(self, theta: Tensor, *, split: str = "train") -> Tensor | None:
        bound, found = self.net.bind(theta), []
        for x, y in self._chunks(len(theta), split):
            outputs = bound.outputs(x)
            if self.criterion.correct(outputs, y).isnan().any():  # these targets are no classes
                return None
            found.append(outputs.max(-1).indices)
        return torch.cat(found, dim=1)

    @torch.no_grad()
    def ensemble(self, theta: Tensor, *, split: str = "train") -> tuple[float, float] | None:
        bound, total = self.net.bind(theta), theta.new_zeros(2)
        for x, y in self._chunks(len(theta), split):
            mean = self.criterion.mean_output(bound.outputs(x))
            total += torch.cat([self.criterion.value(mean, y) * x.shape[1], self.criterion.correct(mean, y)])
        loss, accuracy = total / len(self.inputs[split])
        penalty = torch.as_tensor(self._penalty(theta)).mean()
        return (loss + penalty).item(), accuracy.item()

    def _over(self, theta: Tensor, split: str, figure: Callable[[Bound, Tensor, Tensor], Tensor]) -> Tensor:
        """Sum a figure [K], or several [n, K], over the samples of a split, a few rows and samples at a time."""
        out = []
        for rows in theta.split(ROWS_AT_ONCE):
            bound = self.net.bind(rows)
            parts = [figure(bound, x, y) for x, y in self._chunks(len(rows), split)]
            out.append(torch.stack(parts).sum(0))
        return torch.cat(out, dim=-1)

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

    def mean_gradient(self, theta: Tensor, sums: Tensor) -> Tensor:
        g = super().mean_gradient(theta, sums)
        return g.add_(theta, alpha=self.l2) if self.l2 else g

    def _penalty(self, theta: Tensor) -> Tensor | float:
        return self.l2 / 2 * torch.linalg.vecdot(theta, theta) if self.l2 else 0.0

    def hvp_at(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        return self._sum_of(self.net.hvp_at, theta)

    def dense_at(self, theta: Tensor) -> Dense | None:
        return self.net.dense_at(theta, self.inputs["train"], self.targets["train"], self.criterion, self.l2)

    def gauss_newton_at(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        return self._sum_of(self.net.gauss_newton_at, theta)

    def covariance_at(self, theta: Tensor, *, centered: bool = False) -> Callable[[Tensor], Tensor]:
        moment = self._sum_of(self.net.covariance_at, theta, penalty=False)
        if not centered and not self.l2:
            return moment
        whole = self.grad(theta[None])[0]
        mean = whole - self.l2 * theta  # the penalty's gradient is the same for every sample

        def product(V: Tensor) -> Tensor:
            CV = moment(V) - (V @ mean)[:, None] * mean
            return CV if centered else CV.addr_(V @ whole, whole)

        return product

    def _sum_of(self, part_at: Callable[..., Product], theta: Tensor, *, penalty: bool = True) -> Product:
        """The product of the whole training set from those of its chunks, and of the penalty."""
        samples, directions = self.train_size or 1, self._at_once(self.DIRECTIONS_AT_ONCE)
        theta = theta.detach().clone()
        chunks = [(x[0], y[0]) for x, y in self._chunks(directions, "train")]
        keep = len(chunks) < 2 or fits(self.net.held(theta, chunks[0][0]) * len(chunks), self.device)
        makes: list[Callable[[], Product]] = [
            partial(part_at, theta, x, y, self.criterion, many=keep) for x, y in chunks
        ]
        if keep:
            makes = [made(make()) for make in makes]

        def product(V: Tensor) -> Tensor:
            out = V * self.l2 if penalty else torch.zeros_like(V)
            for make, (x, _) in zip(makes, chunks, strict=True):
                part = make()
                for rows, into in zip(V.split(directions), out.split(directions), strict=True):
                    into.add_(part(rows), alpha=len(x) / samples)
            return out

        return product

    DIRECTIONS_AT_ONCE = 4

    def share(self, i: int, n: int) -> Network:
        return Share(self, i, n)

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
        if self.start_from:
            return self.start_from.point(self.net, self.dtype).to(self.device, copy=True)
        name = "all" if self.same_start else walker
        theta = self.net.start(stream(self.seed, name, "init"), self.init_std)
        return theta.to(self.device, self.dtype)

    def center_start(self) -> Tensor | None:
        return self.start("center") if self.same_start else None

    def module(self, theta: Tensor) -> nn.Module:
        return self.net.module(theta)


class Share(Network):
    """Share i of n of the training samples: their terms of the mean over all samples; the penalty is in share 0."""

    def __init__(self, whole: Network, i: int, n: int) -> None:
        vars(self).update(vars(whole))
        self._whole = whole
        samples = slice(len(whole.inputs["train"]) * i // n, len(whole.inputs["train"]) * (i + 1) // n)
        self.inputs = {"train": whole.inputs["train"][samples]}
        self.targets = {"train": whole.targets["train"][samples]}
        self.l2 = 0.0 if i else whole.l2
        self._first = i == 0

    def grad(self, theta: Tensor, *, split: str = "train", walkers: Sequence[str] | None = None) -> Tensor:
        return self._whole.grad(theta, split=split, walkers=walkers)

    def dense_at(self, theta: Tensor) -> Dense | None:
        return None

    def covariance_at(self, theta: Tensor, *, centered: bool = False) -> Callable[[Tensor], Tensor]:
        return super().covariance_at(theta, centered=centered and self._first)  # the mean's part is counted once


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
