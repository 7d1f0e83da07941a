"""The loop a person writes by hand: one network, torch.optim.SGD, batches picked by index; with rows if asked."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from walkers_dist.landscape import stream
from walkers_dist.landscape.network import Network


class BareLoop:
    """Starts where the walker starts, and takes the same batches in the same order."""

    def __init__(
        self, landscape: Network, walker: str, *, batch_size: int, lr: float, momentum: float, table: Path | None = None
    ) -> None:
        self.seed, self.walker = landscape.seed, walker
        self.x_train, self.x_test = (landscape.inputs[split].flatten(1) for split in ("train", "test"))
        self.y_train, self.y_test = (landscape.targets[split].argmax(1) for split in ("train", "test"))
        self.model = nn.Sequential(*list(landscape.module(landscape.start(walker)))[1:])
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr, momentum=momentum)
        self.batch_size, self.lr = batch_size, lr
        self.table = csv.writer(table.open("w", buffering=1)) if table else None

    def run(self, begin: int, end: int, rows_every: int | None = None) -> None:
        per_epoch = len(self.x_train) // self.batch_size
        for t in range(begin, end):
            if rows_every and t % rows_every == 0:
                self.write_row(t, t / per_epoch)
            epoch, number = divmod(t, per_epoch)
            if number == 0 or t == begin:
                generator = stream(self.seed, self.walker, "order", epoch)
                order = torch.randperm(len(self.x_train), generator=generator)
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            loss = F.cross_entropy(self.model(self.x_train[chosen]), self.y_train[chosen])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def write_row(self, t: int, epoch: float) -> None:
        with torch.no_grad():
            norm = nn.utils.parameters_to_vector(self.model.parameters()).norm()
        figures = [*self.measure(self.x_train, self.y_train), *self.measure(self.x_test, self.y_test)]
        assert self.table is not None
        self.table.writerow([t, epoch, self.walker, self.lr, norm.item(), *figures])

    def measure(self, x: Tensor, y: Tensor) -> list[float]:
        """Loss, gradient norm and accuracy on a whole split."""
        self.optimizer.zero_grad()
        outputs = self.model(x)
        loss = F.cross_entropy(outputs, y)
        loss.backward()
        grad = torch.cat([p.grad.flatten() for p in self.model.parameters() if p.grad is not None])
        accuracy = (outputs.argmax(1) == y).float().mean()
        return [loss.item(), grad.norm().item(), accuracy.item()]

    @property
    def theta(self) -> Tensor:
        return nn.utils.parameters_to_vector(self.model.parameters()).detach()
