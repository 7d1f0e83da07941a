"""DOWNPOUR: each walker pushes the sum of its steps, then begins at the new center; all at once, or one at a time.

    c <- c + sum_i u^i          at steps with t mod period = 0, the sum u^i of the walker's steps since it last pulled
    x^i <- c,   u^i <- 0        (at t = 0 an empty push)
    x^i <- x^i - eta g^i        and u^i <- u^i - eta g^i, that is u^i = x^i - (where it last pulled)

All at once, on a parabola, c is multiplied by 1 - p (1 - (1 - eta h)^period) in a period (`theory.downpour_factor`).
Source: Dean et al., "Large scale distributed deep networks" (2012), as in Algorithm 3 of the supplement of Zhang,
Choromanska, LeCun, arXiv 1412.6651.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from walkers_dist.config.kinds import Coupling, Event, Period
from walkers_dist.coupling.rows import sum_finite_rows

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import State, Sums


class Downpour(Coupling):
    name: Literal["downpour"] = "downpour"
    period: Period = 4

    orders: ClassVar[tuple[str | None, ...]] = (None, "round_robin")

    @property
    def remembered(self) -> int:
        return 1

    def events(self, t: int) -> tuple[Event, ...]:
        due = t % self.period == 0
        return ("message", "center", "move", "gradient", "dynamics") if due else ("gradient", "dynamics")

    def message(self, X: Tensor, c: Tensor, state: State, t: int, out: Sums) -> None:
        sum_finite_rows(X, out, around=state.get("pulled", X))  # sum_i u^i

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        c.add_(total.vector)

    def move(self, X: Tensor, c: Tensor, state: State, t: int) -> None:
        X.lerp_(c, 1.0)  # x <- c, but a walker that is lost stays lost
        state["pulled"] = X.clone()
