"""Elastic averaging SGD (Zhang, Choromanska, LeCun, "Deep learning with elastic averaging SGD", arXiv 1412.6651).

With d^i = alpha (x^i - c), alpha = eta rho, beta = p alpha ("elastic symmetry"):

    x^i <- x^i - eta g^i - d^i          c <- c + sum_i d^i        (= (1 - beta) c + beta mean_i x^i)

order: simultaneous     every right-hand side at time t (Eq. 5-6); exchanges at steps with t mod period = 0
       center_last      the same walkers, but the center sees them after they moved (Gauss-Seidel)
       gradient_first   the local step first, then the force, at (t + 1) mod period = 0 (distlearn's AllReduceEA)

One walker at a time, in `round_robin`, it is AEASGD (Algorithm 1): t is that walker's clock, sum and mean are its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from walkers_dist.config.kinds import Coupling, Event, Period
from walkers_dist.coupling.rows import sum_finite_rows

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import State, Sums

ORDER: dict[str, tuple[Event, ...]] = {
    "simultaneous": ("message", "gradient", "move", "dynamics"),
    "center_last": ("gradient", "move", "dynamics", "message"),
    "gradient_first": ("gradient", "dynamics", "message", "move"),
}


class EASGD(Coupling):
    name: Literal["easgd"] = "easgd"
    period: Period = 4
    alpha: Annotated[float, Field(gt=-1, lt=1)] = 0.1
    beta: Annotated[float, Field(allow_inf_nan=False)] | None = None
    order: Literal["simultaneous", "gradient_first", "center_last"] = "simultaneous"

    orders: ClassVar[tuple[str | None, ...]] = (None, "round_robin")

    def events(self, t: int) -> tuple[Event, ...]:
        clock = t + 1 if self.order == "gradient_first" else t
        return ORDER[self.order] if clock % self.period == 0 else ("gradient", "dynamics")

    def message(self, X: Tensor, c: Tensor, state: State, t: int, out: Sums) -> None:
        sum_finite_rows(X, out, around=c)  # sum_i (x^i - c)

    def move(self, X: Tensor, c: Tensor, state: State, t: int) -> None:
        X.lerp_(c, self.alpha)  # x <- x - alpha (x - c)

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        if self.beta is None:
            c.add_(total.vector, alpha=self.alpha)  # c <- c + sum_i alpha (x^i - c)
        else:
            c.addcmul_(total.vector, self.beta / total.count.clamp(min=1))  # c <- c + beta mean_i (x^i - c)
