"""Averages of where the center of DOWNPOUR went: what is seen of the center is z, and c goes its way in the state.

    z_{k+1} = (1 - a) z_k + a c_k          then c_{k+1} = c_k + u^i: one walker pushes at a time, z_0 = c_0
    x^i <- c_{k+1}                         k = 0, 1, … counts the pushes, empty ones included

adownpour      a = 1 / (k + 1), so that z_k is the mean of c_0 … c_{k-1}
mvadownpour    a constant, `a`

All that is measured of the center is measured at z; c is where `downpour` would have it.
Source: Zhang, Choromanska, LeCun, "Deep learning with elastic averaging SGD", arXiv 1412.6651, section 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from walkers_dist.coupling.downpour import Downpour

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import State, Sums


class ADownpour(Downpour):
    name: Literal["adownpour"] = "adownpour"  # type: ignore[assignment]

    orders: ClassVar[tuple[str | None, ...]] = ("round_robin",)

    def weight(self, k: Tensor) -> Tensor:
        return 1 / (k + 1)

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        if "c" not in state:
            state["c"], state["k"] = c.clone(), c.new_zeros(1)
        c.lerp_(state["c"], self.weight(state["k"]))  # z
        super().center(state["c"], total, state, t)
        state["k"] += 1

    def move(self, X: Tensor, c: Tensor, state: State, t: int) -> None:
        super().move(X, state["c"], state, t)


class MVADownpour(ADownpour):
    name: Literal["mvadownpour"] = "mvadownpour"  # type: ignore[assignment]
    a: Annotated[float, Field(gt=0, le=1)] = 0.001

    def weight(self, k: Tensor) -> Tensor:
        return k.new_full((1,), self.a)
