"""DOWNPOUR with Nesterov's momentum on the center: each walker's gradient is at the look-ahead it was given last.

    u = -eta g(x^i)               the walker's own step from the point x^i it was given, at first where it starts
    v <- delta v + u              v = 0 at the start, delta = `momentum`
    c <- c + v
    x^i <- c + delta v            for its next gradient, by which time the others have moved c on

in every step of a walker, so that the period is 1. With one walker c is where MSGD (`nesterov`) would be.
Source: Zhang, Choromanska, LeCun, "Deep learning with elastic averaging SGD", arXiv 1412.6651, section 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from walkers_dist.config.kinds import Coupling, Event, Fraction
from walkers_dist.coupling.rows import sum_finite_rows

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import State, Sums


class MDownpour(Coupling):
    name: Literal["mdownpour"] = "mdownpour"
    period: Literal[1] = 1  # type: ignore[assignment]
    momentum: Fraction = 0.9

    orders: ClassVar[tuple[str | None, ...]] = ("round_robin",)

    @property
    def remembered(self) -> int:
        return 1

    def events(self, t: int) -> tuple[Event, ...]:
        return ("gradient", "force", "dynamics", "message", "center", "move")

    def force(self, X: Tensor, g: Tensor, c: Tensor, state: State, t: int) -> None:
        state["given"] = X.clone()  # no force: the step to come is from here

    def message(self, X: Tensor, c: Tensor, state: State, t: int, out: Sums) -> None:
        sum_finite_rows(X, out, around=state["given"])  # u

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        v, u = state.get("v"), total.vector
        state["v"] = u.clone() if v is None else v.mul_(self.momentum).add_(u)
        c.add_(state["v"])

    def move(self, X: Tensor, c: Tensor, state: State, t: int) -> None:
        X.lerp_(c.add(state["v"], alpha=self.momentum), 1.0)  # a walker that is lost stays lost
