"""Numbers of a symmetric matrix from its products: trace, Frobenius norm, diagonal, effective rank, each with an error.

trace     Hutch++: exact on a sketched range Q, Hutchinson on what it leaves
          (Meyer, Musco, Musco, Woodruff, "Hutch++: optimal stochastic trace estimation", 2021)
norm      |H|_F^2 = E |H v|^2,  v of entries +-1
diagonal  E[v * H v]  (Bekas, Kokiopoulou, Saad, "An estimator for the diagonal of a matrix", 2007)
rank      effective: tr(H)^2 / |H|_F^2, the number of equal eigenvalues with this trace and norm; not the one by entropy
          (Roy, Vetterli, 2007), nor the intrinsic dimension tr(H) / |H|_2
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.density import finite, mean_and_error, probe_vectors
from walkers_dist.curvature.full import CHUNK
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
    vectors = probe_vectors(H, range(products - third), seed, "trace")
    sketch, rest = vectors[:third], vectors[third:]
    Q, _ = torch.linalg.qr(_products(H, sketch).T)
    rows = Q.T.contiguous()
    within = float(_dots(rows, _products(H, rows)).sum())
    if third == H.size:
        return Figure(within, 0.0)
    left = rest - (rest @ Q) @ rows
    mean, error = mean_and_error(_dots(left, _products(H, left)))
    return Figure(within + float(mean), float(error))


def frobenius(H: Operator, probes: int = 30, *, seed: int = 0) -> Figure:
    """The Frobenius norm."""
    if probes < 2:
        raise UserError(f"frobenius: probes = {probes}: must be at least 2")
    products = _products(H, probe_vectors(H, range(probes), seed, "norm"))
    square, error = (float(v) for v in mean_and_error(_dots(products, products)))
    root = square**0.5
    return Figure(root, error / (2 * root) if root else 0.0)


def diagonal(H: Operator, probes: int = 30, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The diagonal [P], and its standard error [P], in float64; exact where H is diagonal."""
    if probes < 2:
        raise UserError(f"diagonal: probes = {probes}: must be at least 2")
    v = probe_vectors(H, range(probes), seed, "diagonal")
    return mean_and_error((v * _products(H, v)).double().T)


def effective_rank(H: Operator, products: int = 60, *, seed: int = 0) -> Figure:
    """tr(H)^2 / |H|_F^2, half of the products for each; 0 for the zero matrix."""
    return rank_from(trace(H, products // 2, seed=seed), frobenius(H, products - products // 2, seed=seed))


def rank_from(tr: Figure, norm: Figure) -> Figure:
    """The effective rank of a matrix of this trace and Frobenius norm."""
    if norm.value == 0:
        return Figure(0.0, 0.0)
    rank = (tr.value / norm.value) ** 2
    from_trace, from_norm = 2 * tr.value * tr.error / norm.value**2, 2 * rank * norm.error / norm.value
    return Figure(rank, (from_trace**2 + from_norm**2) ** 0.5)


def _products(H: Operator, V: Tensor) -> Tensor:
    return finite(torch.cat([H(part) for part in V.split(CHUNK.get(H.device.type, 32))]))


def _dots(A: Tensor, B: Tensor) -> Tensor:
    return torch.linalg.vecdot(A.double(), B.double()).cpu()
