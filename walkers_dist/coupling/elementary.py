"""The rule of the program elementary-walkers (`util.center_averaging`), after each walker's own step:

    x^i <- x^i - alpha (x^i - c)          with the old center for all
    c <- m (mean_i |x^i|) / |m|           m = mean_i x^i of the moved walkers

There is no rho and no beta: it is EASGD with beta = 1 that sees the moved walkers, and a rescaling of the center to
their mean norm, so that the sum of all is not conserved. With |m| = 0 the center is m (the original divides by zero).
`rescale: false` leaves the norm alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from walkers_dist.config.kinds import Coupling, Event
from walkers_dist.coupling.rows import sum_finite_rows

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import State, Sums


class Elementary(Coupling):
    name: Literal["elementary"] = "elementary"
    alpha: Annotated[float, Field(gt=-1, lt=1)] = 0.1
    rescale: bool = True

    scalars: ClassVar[tuple[str, ...]] = ("norms",)

    def events(self, t: int) -> tuple[Event, ...]:
        due = (t + 1) % self.period == 0
        return ("gradient", "dynamics", "move", "message") if due else ("gradient", "dynamics")

    def move(self, X: Tensor, c: Tensor, state: State, t: int) -> None:
        X.lerp_(c, self.alpha)  # x <- x - alpha (x - c)

    def message(self, X: Tensor, c: Tensor, state: State, t: int, out: Sums) -> None:
        took_part = sum_finite_rows(X, out)  # sum_i x^i
        out["norms"].copy_(X.norm(dim=1).where(took_part, 0.0).sum())  # sum_i |x^i|

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        n = total.count.clamp(min=1)
        c.copy_(total.vector).div_(n)  # m
        if self.rescale:
            norm = c.norm()
            c.mul_((total["norms"] / n / norm).where(norm > 0, 1.0))
