"""Limited-memory BFGS without a line search, as `torch.optim.LBFGS` with `max_iter=1`: a step is a full gradient.

    s_i = x_{i+1} - x_i,   y_i = g_{i+1} - g_i,   rho_i = 1 / y_i.s_i       of the last `history` pairs
    q <- g;    i newest to oldest:   a_i = rho_i s_i.q,   q <- q - a_i y_i
    r <- (s.y / y.y of the newest) q;    i oldest to newest:   b = rho_i y_i.r,   r <- r + (a_i - b) s_i
    x <- x - lr r                          (the first step: x <- x - lr min(1, 1/|g|_1) g)

A pair with y.s <= 1e-10 is left out, each walker's for itself. Where forces move the walkers too, s is the whole way
between the two gradients, so that the secant condition H y = s holds of the surface.
Source: Nocedal, "Updating quasi-Newton matrices with limited storage", Math. Comp. 35 (1980); PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from walkers_dist.config.kinds import Dynamics, Rate

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import Gradient, State

FLATTEST = 1e-10
"""y.s of the flattest pair that is kept."""


class LBFGS(Dynamics):
    name: Literal["lbfgs"] = "lbfgs"
    lr: Rate = 1.0
    batch_size: None = None
    history: Annotated[int, Field(ge=1)] = 10

    full_batch: ClassVar[bool] = True

    @property
    def remembered(self) -> int:
        return 2 * self.history + 2

    def gradient(self, X: Tensor, grad: Gradient, state: State, t: int) -> Tensor:
        """Also remembers the pair (s, y) since the gradient before this one: forces move the rows before `move`."""
        g = super().gradient(X, grad, state, t)
        if "g" in state:
            self._remember(X - state["x"], g - state["g"], state)
        state["x"], state["g"] = X.clone(), g.clone()
        return g

    def _remember(self, s: Tensor, y: Tensor, state: State) -> None:
        """`s`, `y`: [K, m, P] and `rho`: [K, m], the newest pair last; zeros, without effect, where a row has fewer."""
        import torch

        ys = torch.linalg.vecdot(y, s)
        taken = ys > FLATTEST
        for key, newest in {"s": s, "y": y, "rho": 1 / ys}.items():
            newest = newest[:, None]
            old = state.get(key, newest[:, :0])
            with_it, without = torch.cat([old, newest], 1), torch.cat([torch.zeros_like(newest), old], 1)
            rows = taken.view(-1, *[1] * (newest.ndim - 1))
            state[key] = with_it.where(rows, without)[:, -self.history :]

    def move(self, X: Tensor, g: Tensor, state: State, t: int) -> None:
        import torch

        if "s" not in state:
            X.addcmul_(g, (1 / g.abs().sum(1, keepdim=True)).clamp(max=1), value=-self.lr)
            return
        dot = torch.linalg.vecdot
        pairs = list(zip(state["s"].unbind(1), state["y"].unbind(1), state["rho"].unbind(1), strict=True))
        q, a = g.clone(), []
        for s, y, rho in reversed(pairs):
            a.append((rho * dot(s, q))[:, None])
            q.addcmul_(a[-1], y, value=-1)
        s, y, rho = pairs[-1]
        r = q.mul_(torch.where(rho > 0, 1 / (rho * dot(y, y)), 1.0)[:, None])
        for s, y, rho in pairs:
            b = (rho * dot(y, r))[:, None]
            r.addcmul_(a.pop() - b, s)
        X.add_(r, alpha=-self.lr)
