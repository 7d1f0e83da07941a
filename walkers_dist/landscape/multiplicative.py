"""A parabola whose gradient noise multiplies, F(theta) = E[u] |theta|^2 / 2 with the stochastic gradient u theta.

    u ~ Gamma(E[u]^2 / Var u, Var u / E[u]),    E[u] = `curvature`,  Var u = `variance`

a fresh u for every walker, coordinate and step: the noise vanishes at the minimum and grows with the distance from it,
so that where it diverges is a matter of second moments (`coupling/theory_multiplicative.py`). Its coordinates are
independent copies of the one-dimensional problem. Source: Zhang, "Distributed stochastic optimization for deep
learning" (thesis, New York University, 2016), arXiv 1605.02216, chapter 5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from walkers_dist.landscape.base import Minibatch
from walkers_dist.landscape.quadratic import Quadratic
from walkers_dist.landscape.streams import stream


class Multiplicative(Quadratic):
    def __init__(
        self,
        *,
        dim: int = 1,
        curvature: float = 0.5,
        variance: float = 0.5,
        start: float = 1.0,
        center_start: float | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(
            dim=dim, curvature=curvature, start=start, center_start=center_start, seed=seed, dtype=dtype, device=device
        )
        self.mean, self.variance = curvature, variance

    def minibatches(self, walkers: Sequence[str], batch_size: int | None) -> Minibatch:
        if batch_size is None or not self.variance:  # the noise is that of minibatches
            return super().minibatches(walkers, batch_size)

        def gradient(X: Tensor, t: int) -> Tensor:
            return torch.stack([self.factors(name, t) for name in walkers]).to(X) * X

        return gradient

    def factors(self, walker: str, t: int) -> Tensor:
        """u: [P] of one walker and step, in float64."""
        shape, scale = self.mean**2 / self.variance, self.variance / self.mean
        random = np.random.default_rng(stream(self.seed, walker, "noise", t).initial_seed())  # torch's takes no stream
        return torch.from_numpy(random.gamma(shape, scale, self.size))
