"""DiLoCo: walkers go their own ways for H steps, then an outer optimiser takes the mean way as its gradient.

    D = mean_i (c - x^i)          once the walkers have made H = `period` steps
    v <- m v + D                  m = `outer_momentum`, v = 0 at the start
    c <- c - eta (D + m v)        eta = `outer_lr`; Nesterov's momentum as `torch.optim.SGD` has it
    x^i <- c

With eta = 1 and m = 0 it is local SGD: the walkers are averaged every H steps. What the walkers' own dynamics remember
stays theirs; DiLoCo's are `adamw`.
Source: Douillard et al., "DiLoCo: distributed low-communication training of language models", arXiv 2311.08105,
Algorithm 1; local SGD: Stich, arXiv 1805.09767.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from walkers_dist.config.kinds import Coupling, Event, Fraction, Period, Rate
from walkers_dist.coupling.rows import sum_finite_rows

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import State, Sums


class DiLoCo(Coupling):
    name: Literal["diloco"] = "diloco"
    period: Period = 500
    outer_lr: Rate = 0.7
    outer_momentum: Fraction = 0.9

    def events(self, t: int) -> tuple[Event, ...]:
        due = (t + 1) % self.period == 0
        return ("gradient", "dynamics", "message", "center", "move") if due else ("gradient", "dynamics")

    def message(self, X: Tensor, c: Tensor, state: State, t: int, out: Sums) -> None:
        sum_finite_rows(X, out, around=c)  # sum_i (x^i - c)

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        D = total.vector / -total.count.clamp(min=1)
        v = state["v"] = state["v"].mul_(self.outer_momentum).add_(D) if "v" in state else D.clone()
        c.sub_(D.add_(v, alpha=self.outer_momentum), alpha=self.outer_lr)

    def move(self, X: Tensor, c: Tensor, state: State, t: int) -> None:
        X.lerp_(c, 1.0)  # x <- c, but a walker that is lost stays lost
