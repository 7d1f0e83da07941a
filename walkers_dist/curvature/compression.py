"""Fewer parameters where the inputs leave directions unused, without any approximation.

A unit of the first layer reads (x, 1). Let all of these, N rows, have rank r less than their length d, (X, 1) = Z Q^T
with orthonormal columns Q: [d, r]. Then weights and bias w of the unit matter through Q^T w alone, and the second
derivatives are T A' T^T, with orthonormal columns T and A' those of a perceptron that reads Z. So A has the
eigenvalues of A' and, n_1 (d - r) times, 0 (with l2 / 2 |theta|^2 in the loss, l2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from walkers_dist.landscape.dense import Part
from walkers_dist.landscape.mlp_dense import MLPDense

ROUNDING = 32
"""times the precision of the largest singular value: below it is zero but for rounding, and leaving it out exact."""
PAYS = 0.99
"""P' / P from which on it is left: the eigensolver's P'^3 must win more than the singular values cost."""


def compress(at: MLPDense) -> Tensor | None:
    """The coordinates Z: [N, r] of what the first layer reads; None where compression does not pay."""
    inputs = at.inputs.double()
    if not inputs.isfinite().all():
        return None
    R = torch.linalg.qr(inputs, mode="r").R if len(inputs) > inputs.shape[1] else inputs
    _, singular, basis = torch.linalg.svd(R, full_matrices=False)
    rank = int((singular > ROUNDING * torch.finfo(at.dtype).eps * singular[0]).sum())
    if at.compressed_size(rank) > PAYS * at.size:
        return None
    return (inputs @ basis[:rank].T).to(at.dtype)


def eigenvalue_left_out(at: MLPDense, part: Part) -> float:
    """The eigenvalue of every direction that compression leaves out."""
    return 0.0 if part == "residual" else at.l2
