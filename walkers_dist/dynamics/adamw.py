"""Adam with decoupled weight decay, by PyTorch's own function; `clip` bounds each walker's gradient norm before it.

    g <- g min(1, clip / |g|)
    m <- beta1 m + (1 - beta1) g,      s <- beta2 s + (1 - beta2) g^2            n = 1, 2, … counts the gradients
    x <- (1 - lr weight_decay) x - lr m / (1 - beta1^n) / (sqrt(s / (1 - beta2^n)) + eps)

DiLoCo's inner steps are lr = 4e-4, beta2 = 0.95, weight_decay = 0.1, clip = 1.
Source: Loshchilov, Hutter, "Decoupled weight decay regularization", arXiv 1711.05101; `torch.optim.AdamW`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from walkers_dist.config.kinds import Dynamics, Fraction, NonNegative, Rate

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import Gradient, State


class AdamW(Dynamics):
    name: Literal["adamw"] = "adamw"
    lr: Rate = 0.001
    weight_decay: NonNegative = 0.01
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: NonNegative = 1e-8
    clip: Rate | None = None

    @property
    def remembered(self) -> int:
        return 2

    def gradient(self, X: Tensor, grad: Gradient, state: State, t: int) -> Tensor:
        """Without the weight decay, which is no part of the gradient here."""
        g = grad(X)
        if self.clip is not None:
            g.mul_((self.clip / (g.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1))  # as torch's clip_grad_norm_
        return g

    def move(self, X: Tensor, g: Tensor, state: State, t: int) -> None:
        from torch.optim.adamw import adamw

        if "m" not in state:
            state["m"], state["s"], state["n"] = X.new_zeros(X.shape), X.new_zeros(X.shape), X.new_zeros(len(X))
        n = state["n"][0].clone()  # the same for all rows
        adamw(
            [X], [g], [state["m"]], [state["s"]], [], [n],
            foreach=False, capturable=X.is_cuda, amsgrad=False, maximize=False, lr=self.lr,
            beta1=self.beta1, beta2=self.beta2, weight_decay=self.weight_decay, eps=self.eps,
        )  # fmt: skip
        state["n"].copy_(n)
