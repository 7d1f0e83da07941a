"""The whole spectrum: the matrix itself, column by column, then a dense eigensolver."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.operators import Operator

CHUNK = 32
"""Products at once: larger batches fall out of the cache of a CPU."""
LARGEST_WITH_VECTORS = 32_766
"""Beyond it the size of LAPACK's workspace, 1 + 6P + 2P^2, overflows 32 bits and the process crashes."""


@dataclass(frozen=True)
class Spectrum:
    """All eigenvalues of a symmetric matrix, ascending `[P]`; `vectors: [P, P]` has theirs as columns, if asked."""

    eigenvalues: Tensor
    vectors: Tensor | None = None


def matrix(H: Operator) -> Tensor:
    """(A + A') / 2 with the rows of A being the products of unit vectors: [P, P]. UserError if an entry is not finite.

    The check is here because an eigensolver returns finite numbers for a matrix with nan in it.
    """
    A = torch.empty(H.size, H.size, dtype=H.dtype, device=H.device)
    for start in range(0, H.size, CHUNK):
        rows = A[start : start + CHUNK]
        units = torch.zeros_like(rows)
        units.diagonal(start).fill_(1)
        rows.copy_(H(units))
    if not A.isfinite().all():
        i, j = (~A.isfinite()).nonzero()[0].tolist()
        raise UserError(f"entry [{i}, {j}] of the matrix is {A[i, j].item()}: its eigenvalues mean nothing")
    return (A + A.T).div_(2)


def refuse_too_large(P: int) -> None:
    """Raise UserError where the whole spectrum of P parameters needs more memory than this machine has."""
    needed = 3 * P * P * 8  # float64
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise UserError(
            f"the whole spectrum of {P} parameters needs {needed / 1e9:.0f} GB, "
            f"and this machine has {there / 1e9:.0f} GB"
        )


def spectrum(H: Operator, vectors: bool = False) -> Spectrum:
    """All eigenvalues of H in its own dtype, P products and P^3 operations; memory 3 P^2 (with vectors 5 P^2) numbers.

    UserError if an entry of H is not finite, if it does not fit into this machine's memory, or if vectors are asked of
    a matrix that LAPACK cannot give.
    """
    if vectors and H.size > LARGEST_WITH_VECTORS:
        raise UserError(f"all eigenvectors of {H.size} parameters: at most {LARGEST_WITH_VECTORS} are possible")
    refuse_too_large(H.size)
    if vectors:
        return Spectrum(*torch.linalg.eigh(matrix(H)))
    return Spectrum(torch.linalg.eigvalsh(matrix(H)))
