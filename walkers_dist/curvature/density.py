"""The density of a spectrum by stochastic Lanczos quadrature, all probes in lockstep.

    phi(x) = (1/P) sum_i delta(x - lambda_i) = E[ v^T delta(x - H) v ] / P,   v of entries +-1

For each probe v, m steps of Lanczos give a tridiagonal T; its eigenvalues are nodes, the squared first entries of its
eigenvectors weights of a Gauss quadrature that is exact for polynomials up to degree 2 m - 1. Lanczos runs without
reorthogonalisation by default: rounding then makes copies of nodes that share one weight, and sums over them do not
change. Source: Lin, Saad, Yang, "Approximating spectral densities of large matrices" (2016); Ubaru, Chen, Saad (2017).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.operators import Operator
from walkers_dist.landscape.streams import stream

BREAKDOWN = 3
"""times the rounding error of H, sqrt(P) eps |H v|: a vector as short as that is noise, the probe's space invariant."""
Progress = Callable[[int, int], object]
"""Called with the steps that are made, and all of them."""


@dataclass(frozen=True)
class Density:
    """`nodes, weights: [probes, steps]` in float64, nodes ascending; the weights of each probe sum to one.

    A probe whose space was exhausted before the last step has nodes of weight zero.
    """

    nodes: Tensor
    weights: Tensor

    def smoothed(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """The density at `x: [n]` under Gaussians of width `sigma`: mean over probes, and its standard error, [n]."""
        z = (x.double()[:, None, None] - self.nodes) / sigma
        kernel = torch.exp(-z.square() / 2) / (sigma * (2 * torch.pi) ** 0.5)
        return mean_and_error((kernel * self.weights).sum(-1))

    def moments(self, n: int) -> tuple[Tensor, Tensor]:
        """E lambda^k for k = 1 … n: mean over probes, and its standard error, [n]."""
        powers = torch.arange(1, n + 1, dtype=torch.float64, device=self.nodes.device)
        return mean_and_error((self.nodes ** powers[:, None, None] * self.weights).sum(-1))

    def share(self, low: float, high: float) -> tuple[float, float]:
        """Which part of all eigenvalues lies in [low, high]: mean over probes, and its standard error."""
        inside = ((self.nodes >= low) & (self.nodes <= high)) * self.weights
        mean, error = mean_and_error(inside.sum(-1)[None])
        return float(mean), float(error)


def mean_and_error(values: Tensor) -> tuple[Tensor, Tensor]:
    """Over the last dimension, the probes: the mean, and its standard error (nan of one probe alone)."""
    k = values.shape[-1]
    error = values.std(-1) / k**0.5 if k > 1 else torch.full_like(values[..., 0], torch.nan)
    return values.mean(-1), error


def probe_vectors(H: Operator, probes: int, seed: int) -> Tensor:
    """Vectors [probes, P] of entries +-1; a probe's does not depend on how many there are."""
    rows = [torch.randint(0, 2, (H.size,), generator=stream(seed, f"probe {k}", "density")) for k in range(probes)]
    return torch.stack(rows).to(H.device, H.dtype).mul_(2).sub_(1)


def density(
    H: Operator,
    probes: int = 10,
    steps: int = 100,
    *,
    seed: int = 0,
    reorthogonalize: bool = False,
    progress: Progress | None = None,
) -> Density:
    """The density of H from `probes` times `steps` products; with `reorthogonalize`, single nodes mean something too.

    UserError if a product is not finite, or for numbers below 1.
    """
    if probes < 1 or steps < 1:
        raise UserError(f"density: probes = {probes}, steps = {steps}: must be at least 1")
    steps = min(steps, H.size)
    v = probe_vectors(H, probes, seed)
    v /= H.size**0.5
    alpha = torch.zeros(probes, steps, dtype=torch.float64)
    beta = torch.zeros(probes, steps, dtype=torch.float64)
    before, scale = torch.zeros_like(v), torch.zeros(probes, dtype=torch.float64)
    going = torch.ones(probes, dtype=torch.bool)
    basis = v.new_empty(steps, probes, H.size) if reorthogonalize else None
    eps = torch.finfo(H.dtype).eps
    for j in range(steps):
        if basis is not None:
            basis[j] = v
        w = H(v).clone()  # the identity may return its argument
        lengths = w.norm(dim=1).double().cpu()
        if not lengths.isfinite().all():
            raise UserError("a product of the matrix is not finite: its density means nothing")
        scale = torch.maximum(scale, lengths)
        a = torch.linalg.vecdot(v, w)
        w.addcmul_(v, a[:, None], value=-1)
        if j:
            w.addcmul_(before, beta[:, j - 1, None].to(w), value=-1)
        if basis is not None:
            Q = basis[: j + 1]
            for _ in range(2):
                w -= torch.einsum("jkp,jk->kp", Q, torch.einsum("jkp,kp->jk", Q, w))
        b = w.norm(dim=1)
        alpha[:, j] = a.double().cpu()
        ended = b.double().cpu() <= BREAKDOWN * H.size**0.5 * eps * scale
        beta[:, j] = b.double().cpu().where(going & ~ended, 0.0)
        alpha[:, j] = alpha[:, j].where(going, 0.0)
        going = going & ~ended
        if progress:
            progress(j + 1, steps)
        if not going.any():
            break
        # A probe that has ended goes on with zeros: its part of T is decoupled, and bears no weight.
        before, v = v, (w / b[:, None]).where(going.to(w.device)[:, None], 0.0)
    T = torch.diag_embed(alpha) + torch.diag_embed(beta[:, :-1], 1) + torch.diag_embed(beta[:, :-1], -1)
    nodes, S = torch.linalg.eigh(T)
    return Density(nodes, S[:, 0].square())
