"""Both ends of a spectrum, from products alone: one thick-restart Lanczos run (ARPACK) for the two together.

Separate runs for the two ends took 2,822 products on a trained network where one for both takes 213. A single starting
vector sees of a repeated eigenvalue only as many copies as rounding gives it; a residual cannot tell of one missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.full import matrix
from walkers_dist.curvature.operators import Operator

BASIS = 60
"""Lanczos vectors kept at least: fewer cost far more products."""
RESTARTS = 100
FLOOR = 1e-3
"""A residual is measured against |eigenvalue|, at least this part of the largest: relative to 0 none is small."""


@dataclass(frozen=True)
class Extremes:
    """The `bottom` smallest and then the `top` largest eigenvalues, ascending `[bottom + top]`; all P where P is less.

    `residuals[i]` = |H v_i - eigenvalue_i v_i| for the unit vector v_i found. `converged`: every residual is at most
    tol max(|eigenvalue|, 1e-3 max |eigenvalue|). What was not found is nan, at the inner end of its side.
    """

    eigenvalues: Tensor
    residuals: Tensor
    converged: bool


def extremes(
    H: Operator, top: int = 10, bottom: int = 5, tol: float = 1e-4, *, seed: int = 0, v0: Tensor | None = None
) -> Extremes:
    """The `top` largest and `bottom` smallest eigenvalues of H, in its dtype, from about 200 products.

    The run starts at `v0: [P]`, by default normal numbers from a generator seeded with `seed`. A matrix no larger than
    the basis is solved densely. UserError if H has products that are not finite.
    """
    k = 2 * max(top, bottom)  # ARPACK takes as many from either end
    if k == 0:
        none = torch.zeros(0, dtype=H.dtype, device=H.device)
        return Extremes(none, none, True)
    basis = max(BASIS, 2 * k + 1)
    if H.size <= basis:
        values, vectors = torch.linalg.eigh(matrix(H))
        bottom = min(bottom, H.size)
        return _ends(H, values, vectors.T, bottom, bottom, min(top, H.size - bottom), tol)

    if v0 is None:
        v0 = torch.randn(H.size, generator=torch.Generator().manual_seed(seed), dtype=H.dtype)
    v0 = v0.to(H.device, H.dtype)
    Hv0 = H(v0[None])[0]
    if not Hv0.isfinite().all():
        raise UserError("a product of the matrix is not finite: its eigenvalues mean nothing")
    if not Hv0.any():  # the zero matrix: v0 is an eigenvector as good as any, and ARPACK refuses it
        zeros = Hv0.new_zeros(bottom + top)
        return Extremes(zeros, zeros, True)
    values, vectors = _lanczos(H, v0, k, basis, tol, seed)
    mean = (v0 @ Hv0) / (v0 @ v0)  # where ARPACK gave up, this tells which end a value belongs to
    low = k // 2 if len(values) == k else int((values < mean).sum())
    return _ends(H, values, vectors, low, bottom, top, tol)


def _lanczos(H: Operator, v0: Tensor, k: int, basis: int, tol: float, seed: int) -> tuple[Tensor, Tensor]:
    """k/2 eigenvalues from either end, ascending [k], and their vectors [k, P]; fewer if ARPACK gives up."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    def product(v: np.ndarray) -> np.ndarray:
        return H(torch.from_numpy(v).to(H.device)[None])[0].cpu().numpy()

    start = v0.cpu().numpy()
    A = LinearOperator((H.size, H.size), matvec=product, dtype=start.dtype)
    try:  # rng: what ARPACK goes on with when the space of v0 is exhausted
        values, vectors = eigsh(A, k, which="BE", v0=start, ncv=basis, maxiter=RESTARTS, tol=tol, rng=seed)
    except ArpackNoConvergence as partly:
        values, vectors = partly.eigenvalues, partly.eigenvectors
    order = values.argsort()
    return torch.from_numpy(values[order]).to(H.device), torch.from_numpy(vectors.T[order]).to(H.device)


def _ends(H: Operator, values: Tensor, V: Tensor, low: int, bottom: int, top: int, tol: float) -> Extremes:
    """The outer ones of the `low` lower and the other, upper pairs, values [n] ascending and vectors `V: [n, P]`."""
    pairs = torch.stack([values, (H(V) - values[:, None] * V).norm(dim=1)])
    lower, upper = pairs[:, : min(low, bottom)], pairs[:, max(low, len(values) - top) :]
    missing = pairs.new_full((2, bottom + top - lower.shape[1] - upper.shape[1]), torch.nan)
    values, residuals = torch.cat([lower, missing, upper], dim=1)
    size = values.abs()
    enough = residuals <= tol * size.clamp(min=FLOOR * size.nan_to_num().max())
    return Extremes(values, residuals, bool(enough.all()))
