"""The whole spectrum: the matrix itself, assembled or column by column, then a dense eigensolver."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.compression import compress, eigenvalue_left_out
from walkers_dist.curvature.dense import Assembled
from walkers_dist.curvature.operators import Operator
from walkers_dist.curvature.rows import Kept
from walkers_dist.curvature.shared import Shared
from walkers_dist.curvature.state import digest
from walkers_dist.landscape.memory import free_memory
from walkers_dist.landscape.mlp_dense import MLPDense

CHUNK = {"cpu": 32, "cuda": 256}
"""Products at once: larger batches fall out of the cache of a CPU."""
GROUP = 4
"""Rows are shared in groups of so many, which a landscape multiplies together on a CPU: so the bits stay the same."""
TILE = 512
"""Rows and columns that are symmetrised at once."""
LARGEST_WITH_VECTORS = 32_766
"""Beyond it the size of LAPACK's workspace, 1 + 6P + 2P^2, overflows 32 bits and the process crashes."""
MATRICES, MATRICES_WITH_VECTORS = 2.25, 5.0
"""of P x P numbers that are held at most: the solver takes a copy."""

Progress = Callable[[int, int], object]
"""Called with the rows of the matrix that are there, and all of them."""


@dataclass(frozen=True)
class Spectrum:
    """All eigenvalues of a symmetric matrix, ascending `[P]`; `vectors: [P, P]` has theirs as columns, if asked."""

    eigenvalues: Tensor
    vectors: Tensor | None = None


def spectrum(
    H: Operator,
    vectors: bool = False,
    yes: bool = False,
    progress: Progress | None = None,
    state: str | Path | None = None,
) -> Spectrum:
    """All eigenvalues of H in its own dtype: P^3 operations, after the assembly of H or P products.

    An assembled matrix of a perceptron is compressed where its inputs allow it, unless vectors are asked. It is quickly
    made; rows by products are kept in the folder `state` until the matrix is whole: killed, it goes on from there and
    gives the same bits, and other processes may `help_with` it.
    UserError if an entry of H is not finite, if it does not fit into free memory (`yes` tries it all the same), or if
    vectors are asked of a matrix that LAPACK cannot give.
    """
    if isinstance(H, Shared) and H.whole().dense:
        H = H.whole()
    if vectors and H.size > LARGEST_WITH_VECTORS:
        raise UserError(
            f"all eigenvectors of {H.size} parameters: at most {LARGEST_WITH_VECTORS} are possible; "
            f"extremes gives those of either end"
        )
    if not vectors and isinstance(H.dense, Assembled) and isinstance(H.dense.at, MLPDense):
        at, part = H.dense.at, H.dense.part
        if (Z := compress(at)) is not None:
            if not yes:
                _refuse_too_large(H, at.compressed_size(Z.shape[1]))
            values, _ = _solve(_finite(at.matrix(part, Z)), vectors=False)
            left_out = values.new_full((H.size - len(values),), eigenvalue_left_out(at, part))
            _tell(progress, H.size, H.size)
            return Spectrum(torch.cat([values, left_out]).sort().values)
    if not yes:
        _refuse_too_large(H, H.size, vectors)
    return Spectrum(*_solve(matrix(H, progress, state), vectors))


def matrix(H: Operator, progress: Progress | None = None, state: str | Path | None = None) -> Tensor:
    """H as a matrix [P, P], symmetric; UserError if an entry is not finite.

    Assembled where H knows how; else (A + A') / 2 with the rows of A being the products of unit vectors. The check is
    here because an eigensolver returns finite numbers for a matrix with nan in it. For `state` see `spectrum`.
    """
    if H.dense is not None:
        A = _finite(H.dense())
        _tell(progress, H.size, H.size)
        return A
    A = torch.empty(H.size, H.size, dtype=H.dtype, device=H.device)
    if state is None:
        _fill(H, A, 0, 0, progress)
    else:
        kept = _kept(H, Path(state))
        kept.begin()
        kept.gather(A, lambda rows, first, done: _fill(H, rows, first, done, progress))
        kept.remove()
    return _symmetrised(_finite(A))


def help_with(H: Operator, state: str | Path) -> int:
    """Make rows of H for another process, whose `spectrum(H, state=…)` gathers them in this folder: those that nobody
    makes yet, until none is left. Returns how many blocks of them; 0 where no spectrum of H, bit for bit, waits.
    """
    if not Kept.waits(Path(state)):
        return 0
    like = torch.empty(0, dtype=H.dtype, device=H.device)
    return _kept(H, Path(state)).help(like, lambda rows, first, done: _fill(H, rows, first, done, None))


def _kept(H: Operator, folder: Path) -> Kept:
    """Which matrix it is one product says; not that on shares of the data, whose bits depend on the ranks."""
    v = torch.randn(1, H.size, generator=torch.Generator().manual_seed(0), dtype=H.dtype).to(H.device)
    seen = H.apart(v, 1) if isinstance(H, Shared) else H(v)
    return Kept(folder, digest({"seen": seen}), H.size)


def _fill(H: Operator, A: Tensor, first: int, done: int, progress: Progress | None) -> None:
    """Fill `A: [n, P]` with the rows from `first` on of H, of which `done` are there: of `Shared` by all ranks."""
    chunk, ranks = CHUNK.get(H.device.type, 32), 1
    if isinstance(H, Shared):
        ranks = H.ranks
        chunk = min(chunk, GROUP * -(-len(A) // (GROUP * ranks)))
    for start in range(0, len(A), chunk * ranks):
        rows = A[start : start + chunk * ranks]
        units = torch.zeros_like(rows)
        units.diagonal(first + start).fill_(1)
        rows.copy_(H.apart(units, chunk) if isinstance(H, Shared) else H(units))
        _tell(progress, done + start + len(rows), H.size)


def refuse_too_large(
    P: int,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
    *,
    vectors: bool = False,
) -> None:
    """Raise UserError where the whole spectrum of P parameters needs more memory than is free."""
    needed = (MATRICES_WITH_VECTORS if vectors else MATRICES) * P * P * dtype.itemsize
    free = free_memory(device or torch.device("cpu"))
    if needed > free:
        raise UserError(
            f"the whole spectrum of {P} parameters needs {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free"
        )


def _refuse_too_large(H: Operator, P: int, vectors: bool = False) -> None:
    try:
        refuse_too_large(P, H.dtype, H.device, vectors=vectors)
    except UserError as error:
        raise UserError(f"{error}; yes=True (--yes) tries it all the same") from None


def _finite(A: Tensor) -> Tensor:
    if not A.sum().isfinite():  # the sum of finite numbers may overflow, and that of others is never finite
        wrong = ~A.isfinite()
        if wrong.any():
            i = int(wrong.any(dim=1).int().argmax())
            j = int(wrong[i].int().argmax())
            raise UserError(f"entry [{i}, {j}] of the matrix is {A[i, j].item()}: its eigenvalues mean nothing")
    return A


def _symmetrised(A: Tensor) -> Tensor:
    """(A + A') / 2 in the place of A."""
    tiles = [slice(at, at + TILE) for at in range(0, len(A), TILE)]
    for k, rows in enumerate(tiles):
        for columns in tiles[k:]:
            mean = (A[rows, columns] / 2).add_(A[columns, rows].T, alpha=0.5)
            A[rows, columns] = mean
            A[columns, rows] = mean.T
    return A


def _solve(A: Tensor, vectors: bool) -> tuple[Tensor, Tensor | None]:
    """Eigenvalues ascending, and vectors if asked, by the first way that does not fail."""
    last: RuntimeError | None = None
    for dtype, device in _ways(A):
        if last is not None:
            print(
                f"warning: no eigenvalues of {len(A)} parameters in {_name(A.dtype)} on {A.device} ({last}): "
                f"tried again in {_name(dtype)} on {device}".replace("\n", " "),
                file=sys.stderr,
                flush=True,
            )
        try:
            B = A.to(device, dtype)
            values, V = torch.linalg.eigh(B) if vectors else (torch.linalg.eigvalsh(B), None)
            return values.to(A), None if V is None else V.to(A)
        except RuntimeError as error:  # no convergence, or no memory on a GPU
            last = error
    raise UserError(f"the eigensolver failed on a matrix of {len(A)} parameters: {last}")


def _ways(A: Tensor) -> Iterator[tuple[torch.dtype, torch.device]]:
    """As it is; in double precision (a GPU's float32 fails on large matrices of low rank); on the CPU."""
    yield A.dtype, A.device
    if A.dtype != torch.float64:
        yield torch.float64, A.device
    if A.device.type != "cpu":
        yield torch.float64, torch.device("cpu")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
