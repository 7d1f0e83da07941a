from __future__ import annotations

from typing import TYPE_CHECKING

from walkers_dist.config.kinds import Coupling, Event, Fraction, Period, Rate
from walkers_dist.coupling.rows import sum_finite_rows

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import State, Sums


class DiLoCo(Coupling):
    """Every H = `period` steps: D = mean_i (c - x^i);  v <- m v + D;  c <- c - eta (D + m v);  x^i <- c."""

    period: Period = 500
    outer_lr: Rate = 0.7  # eta
    outer_momentum: Fraction = 0.9  # m

    def events(self, t: int) -> tuple[Event, ...]:
        exchange: tuple[Event, ...] = ("message", "center", "move") if (t + 1) % self.period == 0 else ()
        return ("gradient", "dynamics", *exchange)

    def message(self, X: Tensor, c: Tensor, state: State, t: int, out: Sums) -> None:
        sum_finite_rows(X, out, around=c)  # sum_i (x^i - c), and how many took part

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        D = total.vector / -total.count
        v = state["v"] = self.outer_momentum * state["v"] + D if "v" in state else D
        c.sub_(D + self.outer_momentum * v, alpha=self.outer_lr)

    def move(self, X: Tensor, c: Tensor, state: State, t: int) -> None:
        X.copy_(c)
