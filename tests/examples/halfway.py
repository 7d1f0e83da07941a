from __future__ import annotations

from typing import TYPE_CHECKING

from walkers_dist.config.kinds import Coupling, Event
from walkers_dist.coupling.rows import sum_finite_rows

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import State, Sums


class Halfway(Coupling):
    """Every `period` steps: c <- mean_i x^i, then x^i <- (x^i + c) / 2 by the center before it moved."""

    def events(self, t: int) -> tuple[Event, ...]:
        exchange: tuple[Event, ...] = ("message", "move") if (t + 1) % self.period == 0 else ()
        return ("gradient", "dynamics", *exchange)

    def message(self, X: Tensor, c: Tensor, state: State, t: int, out: Sums) -> None:
        sum_finite_rows(X, out)  # sum_i x^i, and how many took part

    def move(self, X: Tensor, c: Tensor, state: State, t: int) -> None:
        X.lerp_(c, 0.5)

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        c.copy_(total.vector / total.count)
