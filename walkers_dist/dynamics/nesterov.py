"""Stochastic gradient descent with Nesterov's momentum, its gradient at the look-ahead: MSGD.

    v <- delta v - eta g(x + delta v)          v = 0 at the start, delta = `momentum`
    x <- x + v

With coupling `easgd` it is EAMSGD: x <- x + v - alpha (x - c); v is neither exchanged nor reset. With delta = 0 it is
`sgd` without momentum, bit for bit.
Source: Zhang, Choromanska, LeCun, "Deep learning with elastic averaging SGD", arXiv 1412.6651, Algorithm 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from walkers_dist.config.kinds import Dynamics, Fraction

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import Gradient, State


class Nesterov(Dynamics):
    name: Literal["nesterov"] = "nesterov"
    momentum: Fraction = 0.9

    def gradient(self, X: Tensor, grad: Gradient, state: State, t: int) -> Tensor:
        ahead = X.add(state["v"], alpha=self.momentum) if "v" in state else X
        return super().gradient(ahead, grad, state, t)

    def move(self, X: Tensor, g: Tensor, state: State, t: int) -> None:
        if self.momentum == 0:
            state.pop("v", None)  # should momentum come back, it begins at rest
            X.add_(g, alpha=-self.lr)
        elif "v" not in state:
            state["v"] = v = g.mul(-self.lr)
            X.add_(v)
        else:
            X.add_(state["v"].mul_(self.momentum).add_(g, alpha=-self.lr))
