"""Entropy-SGD: descent on the local entropy, whose gradient gamma (x - <y>) a Langevin walk around x estimates.

    v = 0,  y = mu = x;      then, L steps:
        v <- m v + grad f(y)                                     m = `inner_momentum`, l = `inner_lr`
        y <- y - l [grad f(y) + m v - gamma_k (x - y)] + eps sqrt(2 l) N(0, 1)
        mu <- b mu + (1 - b) y                                   b = `ema`
    x <- x - eta (x - mu)            after L steps, with Nesterov's momentum as in `sgd`

gamma_k = gamma (1 + `scoping`)^k in the k-th such loop; `times_gamma` takes the step gamma_k (x - mu), as the paper
writes it. L = `inner_steps` gradients count as L steps: x moves in those with (t + 1) mod L = 0, and stands still
between; with L = 0 this is `sgd` with Nesterov's momentum. eps = `noise`.
Source: Chaudhari et al., "Entropy-SGD: biasing gradient descent into wide valleys", arXiv 1611.01838, Algorithm 1, and
the authors' program, whose defaults these are.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from walkers_dist.config.kinds import Dynamics, Fraction, NonNegative, Rate
from walkers_dist.dynamics.sgd import SGD

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import Gradient, State


class EntropySGD(Dynamics):
    name: Literal["entropy_sgd"] = "entropy_sgd"
    momentum: Fraction = 0.9
    inner_steps: Annotated[int, Field(ge=0)] = 20
    inner_lr: Rate = 0.1
    inner_momentum: Fraction = 0.9
    ema: Fraction = 0.75
    gamma: NonNegative = 1e-4
    scoping: NonNegative = 1e-3
    noise: NonNegative = 1e-4
    times_gamma: bool = False

    @property
    def remembered(self) -> int:
        return 4

    def gradient(self, X: Tensor, grad: Gradient, state: State, t: int) -> Tensor:
        """A step of the walk; x - mu, which is a gradient of the local entropy when the walk is over."""
        L, l, m = self.inner_steps, self.inner_lr, self.inner_momentum
        if L == 0:
            state.pop("y", None)  # should loops come back, they begin afresh
            return super().gradient(X, grad, state, t)
        if t % L == 0 or "y" not in state:
            state["y"], state["mu"], state["v"] = X.clone(), X.clone(), X.new_zeros(X.shape)
        y, mu, v = state["y"], state["mu"], state["v"]
        gamma = self.gamma * (1 + self.scoping) ** (t // L)
        g = super().gradient(y, grad, state, t)
        v.mul_(m).add_(g)
        y.add_(g.add_(v, alpha=m).add_(y - X, alpha=gamma), alpha=-l)
        if self.noise:
            y.add_(grad.normal(y), alpha=self.noise * sqrt(2 * l))
        mu.lerp_(y, 1 - self.ema)
        return X.sub(mu).mul_(gamma) if self.times_gamma else X.sub(mu)

    def move(self, X: Tensor, g: Tensor, state: State, t: int) -> None:
        if self.inner_steps == 0 or (t + 1) % self.inner_steps == 0:
            SGD(lr=self.lr, momentum=self.momentum, nesterov=self.momentum > 0).move(X, g, state, t)
