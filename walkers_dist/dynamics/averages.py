"""Averages of where plain stochastic gradient descent went: a row is the average z, and x goes its way in the state.

    x_{t+1} = x_t - eta g(x_t)
    z_{t+1} = (1 - a) z_t + a x_t          z_0 = x_0

asgd      a = 1 / (t + 1), so that z_t is the mean of x_0 … x_{t-1}
mvasgd    a constant, `a`: the center of EASGD with one walker, alpha = 0 and beta = a

All that is measured is measured at z; x is where `sgd` without momentum would be. Forces would move z alone, so there
can be none.
Source: Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim. 30 (1992);
Zhang, Choromanska, LeCun, arXiv 1412.6651, section 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from walkers_dist.config.kinds import Dynamics

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import Gradient, State


class ASGD(Dynamics):
    name: Literal["asgd"] = "asgd"

    rows_are_averages: ClassVar[bool] = True

    def weight(self, t: int) -> float:
        return 1 / (t + 1)

    def gradient(self, X: Tensor, grad: Gradient, state: State, t: int) -> Tensor:
        if "x" not in state:
            state["x"] = X.clone()
        return super().gradient(state["x"], grad, state, t)

    def move(self, X: Tensor, g: Tensor, state: State, t: int) -> None:
        X.lerp_(state["x"], self.weight(t))
        state["x"].add_(g, alpha=-self.lr)


class MVASGD(ASGD):
    name: Literal["mvasgd"] = "mvasgd"  # type: ignore[assignment]
    a: Annotated[float, Field(gt=0, le=1)] = 0.001

    def weight(self, t: int) -> float:
        return self.a
