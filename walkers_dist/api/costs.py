"""What an analysis would cost: products, seconds by a few that are measured, memory against what is free."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from walkers_dist.api.blocks import Plan, Subject
from walkers_dist.config.errors import UserError
from walkers_dist.curvature import Operator
from walkers_dist.curvature.compression import compress
from walkers_dist.curvature.dense import Assembled
from walkers_dist.curvature.extremes import MOST_BASIS
from walkers_dist.curvature.full import CHUNK, MATRICES
from walkers_dist.landscape.memory import free_memory
from walkers_dist.landscape.mlp_dense import MLPDense
from walkers_dist.roles.progress import duration

EDGES, FIGURES = 200, 120
"""Products that the two ends of a spectrum take, about, and figures that are estimated beside a density."""
BASIS = 1.3
"""times a product: with what keeps the vectors of a search orthogonal."""
SMALL = 400
"""Rows of the matrix whose eigenvalues are timed."""
ASSEMBLY = 1.3
"""times its eigenvalues: a matrix that is assembled, with its assembly."""


@dataclass(frozen=True)
class Cost:
    P: int
    blocks: int
    whole: int  # of the blocks
    products: int
    seconds: float
    memory: int  # bytes of tensors at the peak, beside the data
    free: int

    def lines(self) -> list[str]:
        """For a reader."""
        what = "spectrum" if self.blocks == 1 else "spectra"
        products = f"about {self.products:,} products" if self.products else "assembled, without products"
        takes = f"{self.seconds:.2g} s" if self.seconds < 60 else duration(self.seconds)
        return [
            f"{self.blocks} {what} of {self.P:,} parameters, {self.whole or 'none'} of them whole",
            f"{products}; {takes} by what a few of them take here",
            f"{self.memory / 1e9:.3g} GB of tensors at the peak; {self.free / 1e9:.3g} GB are free",
        ]

    def refuse_too_large(self) -> None:
        """Raise UserError where it does not fit into what is free."""
        _refuse(self.memory, self.free, self.P, bool(self.whole))


def cost(subject: Subject, plan: Plan) -> Cost:
    """Of the whole plan, by a few products with its first matrix, and the eigenvalues of a small one."""
    block = (blocks := plan.blocks())[0]
    A = subject.operator(block.step, block.walker, block.matrix)
    P, wanted, whole = A.size, plan.wanted, sum(block.whole for block in blocks)
    one = _seconds(lambda: A(_directions(A, 1)))
    at_once = min(CHUNK.get(A.device.type, 32), P)
    each = _seconds(lambda: A(_directions(A, at_once))) / at_once if one < 1 else one
    ends = 0 if not (wanted.top or wanted.bottom) else P if P <= MOST_BASIS else EDGES
    density = wanted.density.probes * min(wanted.density.steps, P) if wanted.density else 0
    figures = FIGURES if density else 0
    rows = 0 if A.dense else P
    n = solved_size(A) if whole else 0
    solved = _eigenvalues(n, A) * (ASSEMBLY if A.dense else 1.0)
    products = len(blocks) * (ends + density) + (len(blocks) - whole) * figures + whole * rows
    seconds = len(blocks) * (ends * one * BASIS + density * each) + (len(blocks) - whole) * figures * each
    seconds += whole * (rows * each + solved)
    return Cost(P, len(blocks), whole, products, seconds, memory(A, plan), free_memory(A.device))


def memory(A: Operator, plan: Plan) -> int:
    """Bytes of tensors that a block takes at its peak."""
    one, wanted = A.size * A.dtype.itemsize, plan.wanted
    ends = min(MOST_BASIS, A.size) * one if wanted.top or wanted.bottom else 0
    density = 4 * min(wanted.density.probes, CHUNK.get(A.device.type, 32)) * one if wanted.density else 0
    whole = int(MATRICES * solved_size(A) ** 2 * A.dtype.itemsize) if plan.whole else 0
    return max(ends, density, whole)


def refuse_too_large(needed: int, device: torch.device, P: int, whole: bool) -> None:
    """Raise UserError where so many bytes (`memory`) are not free now."""
    _refuse(needed, free_memory(device), P, whole)


def _refuse(needed: int, free: int, P: int, whole: bool) -> None:
    if needed > free:
        what = "the whole spectrum" if whole else "the curvature"
        instead = "; the two ends (--top, --bottom) or --density need no whole matrix" if whole else ""
        raise UserError(
            f"{what} of {P} parameters needs {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free{instead}; "
            f"yes=True (--yes) tries it all the same"
        )


def solved_size(A: Operator) -> int:
    """Rows of the matrix whose eigenvalues are computed: fewer than P where the inputs allow it."""
    if isinstance(A.dense, Assembled) and isinstance(A.dense.at, MLPDense) and (Z := compress(A.dense.at)) is not None:
        return A.dense.at.compressed_size(Z.shape[1])
    return A.size


def _directions(A: Operator, n: int) -> torch.Tensor:
    return torch.ones(n, A.size, dtype=A.dtype, device=A.device)


def _eigenvalues(n: int, A: Operator) -> float:
    """Seconds for n of them."""
    small = min(n, SMALL)
    if not small:
        return 0.0
    S = torch.randn(small, small, dtype=A.dtype, generator=torch.Generator().manual_seed(0)).to(A.device)
    S = S + S.T
    return _seconds(lambda: torch.linalg.eigvalsh(S)) * (n / small) ** 3


def _seconds(work: Callable[[], torch.Tensor]) -> float:
    """Of the second time: the first one prepares."""
    for _ in range(2):
        started = time.perf_counter()
        float(work().flatten()[0])  # a GPU has finished
        if (taken := time.perf_counter() - started) > 5.0:
            break
    return taken
