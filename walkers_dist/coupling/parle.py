"""Parle: each walker does Entropy-SGD, and those are elastically coupled. A row is y; x and z are beside it.

    y <- y - l [grad f(y) + (y - x) / gamma]           by the dynamics, whose lr is l
    z <- b z + (1 - b) y                               b = `ema`
    after L = `period` of these steps, with c = mean_a x^a and Nesterov's momentum `outer_momentum`:
    x <- x - eta [(x - z) + (x - c) / rho]             eta = `outer_lr`
    y <- x,  z <- x                                    and the dynamics begin afresh

gamma and rho are multiplied by 1 - `decay` each outer step, 1 - 1/(2B) in the paper with B minibatches an epoch, down
to their floors; null leaves a term out. At t mod L = 0 a row is x, and the center the mean of those.
variant: mpi    the authors' program: c = mean_a z^a, x <- y - eta [the same], and z and the dynamics go on
Source: Chaudhari et al., "Parle: parallelizing stochastic gradient descent", arXiv 1707.00424.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from walkers_dist.config.kinds import Coupling, Event, Fraction, Period, Rate
from walkers_dist.coupling.rows import sum_finite_rows
from walkers_dist.coupling.scoping import exponential

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import State, Sums


class Parle(Coupling):
    name: Literal["parle"] = "parle"
    period: Period = 25
    variant: Literal["paper", "mpi"] = "paper"
    outer_lr: Rate = 0.1
    outer_momentum: Fraction = 0.9
    ema: Fraction = 0.75
    gamma: Rate | None = 100.0
    rho: Rate | None = 1.0
    decay: Fraction = 0.0
    gamma_floor: Rate = 1.0
    rho_floor: Rate = 0.1

    @property
    def remembered(self) -> int:
        return 3

    @property
    def follows_mean(self) -> bool:
        return True

    def events(self, t: int) -> tuple[Event, ...]:
        if (t + 1) % self.period:
            return ("gradient", "force", "dynamics", "move")
        last: tuple[Event, ...] = ("forget",) if self.variant == "paper" else ()
        return ("gradient", "force", "dynamics", "message", "center", "move", *last)

    def force(self, X: Tensor, g: Tensor, c: Tensor, state: State, t: int) -> None:
        if "x" not in state:
            state["x"], state["z"], state["v"] = X.clone(), X.clone(), X.new_zeros(X.shape)
        if self.gamma is not None:
            gamma = exponential(self.gamma, -self.decay, t // self.period, self.gamma_floor)
            g.add_(X - state["x"], alpha=1 / gamma)

    def message(self, X: Tensor, c: Tensor, state: State, t: int, out: Sums) -> None:
        sum_finite_rows(state["x"] if self.variant == "paper" else state["z"].lerp(X, 1 - self.ema), out)

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        c.copy_(total.vector).div_(total.count.clamp(min=1))

    def move(self, X: Tensor, c: Tensor, state: State, t: int) -> None:
        x, z, v = state["x"], state["z"], state["v"]
        z.lerp_(X, 1 - self.ema)
        if (t + 1) % self.period:
            return
        d = x - z
        if self.rho is not None:
            d.add_(x - c, alpha=1 / exponential(self.rho, -self.decay, t // self.period, self.rho_floor))
        d.add_(v.mul_(self.outer_momentum).add_(d), alpha=self.outer_momentum)
        X.copy_((x if self.variant == "paper" else X) - self.outer_lr * d)
        state |= {"x": X.clone(), "z": X.clone() if self.variant == "paper" else z}
