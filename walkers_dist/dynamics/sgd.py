"""Stochastic gradient descent with momentum, as `torch.optim.SGD` defines it.

    v_0 = g_0,   v_t = momentum v_{t-1} + (1 - dampening) g_t
    x <- x - lr v                      (nesterov: x <- x - lr (g + momentum v))

Torch7's `optim.sgd`, which elementary-walkers used, is `dampening` = `momentum`. That program also damped the bias b of
the output layer: after each step b <- scale b + (1 - scale) b_before, `output_bias_lr_scale` = 0.1; v is not damped.
Source: Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013), and PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from walkers_dist.config.kinds import Dynamics, Fraction, NonNegative

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import State


class SGD(Dynamics):
    name: Literal["sgd"] = "sgd"
    momentum: Fraction = 0.5
    dampening: Fraction = 0.0
    nesterov: bool = False
    output_bias_lr_scale: NonNegative = 1.0

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> SGD:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("nesterov needs momentum above 0 and dampening 0")
        return self

    def step(self, X: Tensor, g: Tensor, state: State, t: int, output_bias: slice | None = None) -> None:
        if output_bias is None or self.output_bias_lr_scale == 1:
            self.move(X, g, state, t)
            return
        b = X[:, output_bias]
        before = b.clone()
        self.move(X, g, state, t)
        b.mul_(self.output_bias_lr_scale).add_(before, alpha=1 - self.output_bias_lr_scale)

    def move(self, X: Tensor, g: Tensor, state: State, t: int) -> None:
        import torch

        if self.momentum == 0:
            X.add_(g, alpha=-self.lr)
            return
        if "momentum" not in state:
            state["momentum"] = v = g.clone()
        elif self.dampening:
            v = state["momentum"].mul_(self.momentum).add_(g, alpha=1 - self.dampening)
        else:
            v = state["momentum"]
            torch.add(g, v, alpha=self.momentum, out=v)  # in one pass over memory
        if self.nesterov:
            X.add_(g, alpha=-self.lr).add_(v, alpha=-self.lr * self.momentum)
        else:
            X.add_(v, alpha=-self.lr)
