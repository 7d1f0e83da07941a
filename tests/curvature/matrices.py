"""Matrices of known spectrum, as operators; imported by the tests of this folder."""

from __future__ import annotations

import torch
from torch import Tensor

from walkers_dist.curvature import Operator


def dense(A: Tensor) -> Operator:
    return Operator(lambda V: V @ A.T, len(A), A.dtype, A.device)


def diagonal(d: Tensor) -> Operator:
    return Operator(lambda V: d * V, len(d), d.dtype, d.device)


def rotated(eigenvalues: Tensor, seed: int = 0) -> Tensor:
    """A symmetric matrix with these eigenvalues."""
    n = len(eigenvalues)
    Q, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    A = (Q * eigenvalues.double()) @ Q.T
    return ((A + A.T) / 2).to(eigenvalues.dtype)
