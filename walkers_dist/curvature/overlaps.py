"""How far two subspaces agree, and how much of a vector lies in one.

    overlap     |U V'|_F^2 / k, the mean squared cosine of the k principal angles between the spans of U and V: [k, P]
                1 of the same subspace, k / P on average of random ones
    share       |U g|^2 / |g|^2

U and V are orthonormal rows, such as the eigenvectors of the k largest eigenvalues. Source: Gur-Ari, Roberts, Dyer,
"Gradient descent happens in a tiny subspace" (2018), arXiv 1812.04754.
"""

from __future__ import annotations

import torch
from torch import Tensor


def overlap(U: Tensor, V: Tensor) -> float:
    """Of the spans of `U: [k, P]` and `V: [l, P]`, of the first min(k, l) rows of each; nan where there is none.

    Rows that are independent, but not orthonormal to the last bit, are made so.
    """
    k = min(len(U), len(V))
    if k == 0:
        return torch.nan
    return float((_orthonormal(U[:k]) @ _orthonormal(V[:k]).T).square().sum()) / k


def share(U: Tensor, g: Tensor) -> float:
    """Of `g: [P]`, what lies in the span of `U: [k, P]`; nan for no rows, and for a g that is zero or not finite."""
    size = float(g.double().norm())
    if len(U) == 0 or not 0 < size < torch.inf:
        return torch.nan
    return float((_orthonormal(U) @ (g.double() / size)).square().sum())


def _orthonormal(U: Tensor) -> Tensor:
    return torch.linalg.qr(U.double().T).Q.T
