"""Numbers of a symmetric matrix from its products: trace, Frobenius norm, diagonal, effective rank, each with an error.

trace     Hutch++: exact on a sketched range Q, Hutchinson on what it leaves (Meyer, Musco, Musco, Woodruff, 2021)
norm      |H|_F^2 = E |H v|^2,  v of entries +-1
diagonal  E[v * H v]                                                       (Bekas, Kokiopoulou, Saad, 2007)
rank      effective: tr(H)^2 / |H|_F^2, the number of equal eigenvalues with this trace and norm
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.density import mean_and_error, probe_vectors
from walkers_dist.curvature.operators import Operator


@dataclass(frozen=True)
class Figure:
    """A number and its standard error."""

    value: float
    error: float


def trace(H: Operator, products: int = 30, *, seed: int = 0) -> Figure:
    """The trace, from a third of the products each: sketch, its range, what is left. The error is of what is left."""
    if products < 6:
        raise UserError(f"trace: products = {products}: must be at least 6")
    third = min(products // 3, H.size)
    vectors = probe_vectors(H, third + max(2, products - 2 * third), seed)
    sketch, rest = vectors[:third], vectors[third:]
    Q, _ = torch.linalg.qr(_finite(H(sketch)).T)
    within = torch.linalg.vecdot(Q.T, H(Q.T.contiguous())).double().sum()
    if Q.shape[1] >= H.size:
        return Figure(float(within), 0.0)
    left = rest - (rest @ Q) @ Q.T
    each = torch.linalg.vecdot(left, _finite(H(left))).double().cpu()
    mean, error = mean_and_error(each)
    return Figure(float(within) + float(mean), float(error))


def frobenius(H: Operator, probes: int = 30, *, seed: int = 0) -> Figure:
    """The Frobenius norm."""
    mean, error = _norm2(H, probes, seed)
    root = mean**0.5
    return Figure(root, error / (2 * root) if root else 0.0)


def _norm2(H: Operator, probes: int, seed: int) -> tuple[float, float]:
    if probes < 2:
        raise UserError(f"frobenius: probes = {probes}: must be at least 2")
    squares = _finite(H(probe_vectors(H, probes, seed))).double().square().sum(1).cpu()
    mean, error = mean_and_error(squares)
    return float(mean), float(error)


def diagonal(H: Operator, probes: int = 30, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The diagonal [P], and its standard error [P]."""
    if probes < 2:
        raise UserError(f"diagonal: probes = {probes}: must be at least 2")
    v = probe_vectors(H, probes, seed)
    return mean_and_error((v * _finite(H(v))).double().T)


def effective_rank(H: Operator, products: int = 60, *, seed: int = 0) -> Figure:
    """tr(H)^2 / |H|_F^2, half of the products for each."""
    tr = trace(H, products // 2, seed=seed)
    norm2, error = _norm2(H, products - products // 2, seed)
    if norm2 == 0:
        return Figure(0.0, 0.0)
    rank = tr.value**2 / norm2
    relative = ((2 * tr.error / tr.value) ** 2 + (error / norm2) ** 2) ** 0.5 if tr.value else 0.0
    return Figure(rank, rank * relative)


def _finite(A: Tensor) -> Tensor:
    if not A.isfinite().all():
        raise UserError("a product of the matrix is not finite: its figures mean nothing")
    return A
