"""A noisy quadratic bowl, F_i(theta) = sum_j h_j (theta_j - m_i)^2 / 2, one optimum m_i per walker.

The stochastic gradient is h (theta - m_i) - xi with xi of standard deviation `noise`, a fresh one for every walker,
coordinate and step: the model problem of the closed forms in `coupling/theory.py` (arXiv 1412.6651, section 5).
The common surface, on which the center is measured, is the mean of the walkers' surfaces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from walkers_dist.landscape.base import Landscape, Minibatch
from walkers_dist.landscape.streams import stream


class Quadratic(Landscape):
    def __init__(
        self,
        *,
        dim: int = 1,
        curvature: float | Sequence[float] = 1.0,
        optima: float | Sequence[float] = 0.0,
        start: float | Sequence[float] = 1.0,
        center_start: float | None = None,
        noise: float = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.size, self.dtype, self.device, self.seed = dim, dtype, torch.device(device), seed
        self.noise = noise
        self.h = torch.as_tensor(curvature, dtype=dtype, device=device).expand(dim)
        self._m = torch.as_tensor(optima, dtype=dtype, device=device)
        self._start, self._center_start = start, center_start

    def optima(self, walkers: Sequence[str] | None) -> Tensor:
        """m: [M, K, 1], the optima over which the loss of each row is a mean; M = 1 but for the common surface."""
        if self._m.ndim == 0:
            return self._m.view(1, 1, 1)
        if walkers is None:
            return self._m.view(-1, 1, 1)
        return self._m[[int(name[1:]) for name in walkers]].view(1, -1, 1)

    def loss(self, theta: Tensor, *, split: str = "train", walkers: Sequence[str] | None = None) -> Tensor:
        return (self.h * (theta - self.optima(walkers)).square() / 2).sum(-1).mean(0)

    def grad(self, theta: Tensor, *, split: str = "train", walkers: Sequence[str] | None = None) -> Tensor:
        return self.h * (theta - self.optima(walkers).mean(0))

    def minibatches(self, walkers: Sequence[str], batch_size: int | None) -> Minibatch:
        noise = self.noise if batch_size is not None else 0.0  # the noise is that of minibatches

        def gradient(X: Tensor, t: int) -> Tensor:
            g = self.grad(X, walkers=walkers)
            if noise:
                for row, name in zip(g, walkers, strict=True):
                    xi = torch.randn(self.size, generator=stream(self.seed, name, "noise", t), dtype=torch.float64)
                    row.sub_(xi.to(row), alpha=noise)
            return g

        return gradient

    def hvp_at(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda V: V * self.h

    def start(self, walker: str) -> Tensor:
        value = self._start if isinstance(self._start, float | int) else self._start[int(walker[1:])]
        return torch.full((self.size,), float(value), dtype=self.dtype, device=self.device)

    def center_start(self) -> Tensor | None:
        if self._center_start is None:
            return None
        return torch.full((self.size,), float(self._center_start), dtype=self.dtype, device=self.device)
