"""Both ends of a spectrum, from products alone: one thick-restart Lanczos run for the two together, or L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.full import matrix
from walkers_dist.curvature.lanczos import Lanczos
from walkers_dist.curvature.operators import Operator
from walkers_dist.curvature.rayleigh import rayleigh
from walkers_dist.curvature.search import FLOOR, Search
from walkers_dist.curvature.state import SearchState
from walkers_dist.landscape.memory import total_memory

LEAST_BASIS, MOST_BASIS = 60, 150
"""Lanczos vectors kept: a restart throws away what a product has found, so that 60 cost twice the products of 150."""
SHARE = 0.25
"""The part of all memory that a basis may take: of what is free another start would have another basis and bits."""
Progress = Callable[[int, int, int], object]


@dataclass(frozen=True)
class Extremes:
    """The `bottom` smallest and then the `top` largest eigenvalues, ascending [bottom + top]; all P if P is less.

    `residuals[i]` = |H v_i - eigenvalue_i v_i| for the unit vector v_i found; `converged[i]`: it is at most
    tol max(|eigenvalue_i|, 1e-3 max |eigenvalue|). An eigenvalue that has not converged is nan, so that nobody takes it
    for one; its residual, and its vector, are those of the best approximation that was reached.
    `vectors: [bottom + top, P]`, if asked, are unit rows whose largest entry is positive.
    """

    eigenvalues: Tensor
    residuals: Tensor
    converged: Tensor
    vectors: Tensor | None = None

    @property
    def all_converged(self) -> bool:
        return bool(self.converged.all())


def extremes(
    H: Operator,
    top: int = 10,
    bottom: int = 5,
    tol: float = 1e-4,
    *,
    vectors: bool = False,
    seed: int = 0,
    v0: Tensor | None = None,
    method: Literal["lanczos", "rayleigh"] = "lanczos",
    state: str | Path | None = None,
    progress: Progress | None = None,
) -> Extremes:
    """The `top` largest and `bottom` smallest eigenvalues of H, in its dtype; 95 products and more for 10 and 5.

    Repeated eigenvalues come as often as they occur: a run from one vector sees one of their vectors, so when all pairs
    have converged a second random direction is followed until a missed copy would show (`search.py`), for 10 products
    or a tenth of all at most; of what lies too close to the inner end for that, a copy can be missed. The run starts at
    `v0: [P]`, by default normal numbers of `seed`. A matrix no larger than the basis is solved densely.
    `method="rayleigh"` is an independent check, the original program's: L-BFGS on the Rayleigh quotient, one pair after
    another.

    `state` names a file in which the search is kept while it goes on: killed, it goes on from there, and gives the
    same bits. `progress(products, converged, wanted)` is called after every product.
    UserError if an end is asked for more than P, H has products that are not finite, or `v0` is no direction.
    """
    if method not in ("lanczos", "rayleigh"):
        raise UserError(f"extremes: method = {method}: must be lanczos or rayleigh")
    if top < 0 or bottom < 0 or not tol > 0:
        raise UserError(f"extremes: top = {top}, bottom = {bottom}, tol = {tol}: must be at least 0, and tol above 0")
    if max(top, bottom) > H.size:
        raise UserError(f"extremes: top = {top}, bottom = {bottom}: there are {H.size} eigenvalues")
    if top + bottom == 0:
        none = torch.zeros(0, dtype=H.dtype, device=H.device)
        return Extremes(none, none, none.bool(), none.new_zeros(0, H.size) if vectors else None)
    generator = torch.Generator().manual_seed(seed)
    basis = _basis(H, top + bottom)
    if method == "rayleigh":
        values, V = rayleigh(H, *_shared(H.size, top, bottom), generator)
        return _measured(H, values, V, tol, vectors)
    if H.size <= basis:
        values, V = torch.linalg.eigh(matrix(H))
        top, bottom = _shared(H.size, top, bottom)
        chosen = [*range(bottom), *range(H.size - top, H.size)]
        return _measured(H, values[chosen], V.T[chosen], tol, vectors)

    lanczos = Lanczos(H, basis, generator)
    start = torch.randn(H.size, generator=generator, dtype=H.dtype) if v0 is None else _direction(v0, H.size)
    lanczos.start(start.to(H.device, H.dtype))
    search = Search(lanczos, top, bottom, tol)
    kept = SearchState(Path(state), search) if state is not None else None

    def each(converged: int) -> None:
        if kept and not search.found:  # what is kept is a search that goes on
            kept.save()
        if progress:
            progress(lanczos.products, converged, top + bottom)

    values, residuals, converged, S = search.run(each)
    rows = _signed(lanczos.vectors(S)) if vectors else None
    if kept:
        kept.remove()
    values, residuals = values.to(H.device, H.dtype), residuals.to(H.device, H.dtype)
    return _result(values, residuals, converged.to(H.device), rows)


def _basis(H: Operator, wanted: int) -> int:
    """150 vectors where memory allows, at least 60 and 4 for each wanted pair; a small matrix has fewer."""
    least = max(4 * wanted, LEAST_BASIS)
    row = H.size * torch.empty(0, dtype=H.dtype).element_size()
    fits = int(SHARE * total_memory(H.device) / row)
    return max(least, min(MOST_BASIS, fits))


def _shared(P: int, top: int, bottom: int) -> tuple[int, int]:
    """How many of P come from the top and from the bottom: the bottom is served first."""
    return min(top, P - min(bottom, P)), min(bottom, P)


def _direction(v0: Tensor, P: int) -> Tensor:
    if v0.shape != (P,) or not v0.isfinite().all() or not v0.any():
        raise UserError(f"extremes: v0 of shape {list(v0.shape)}: must be [{P}], finite and not zero")
    return v0.detach()


def _measured(H: Operator, values: Tensor, V: Tensor, tol: float, vectors: bool) -> Extremes:
    """With residuals by products: values [n], `V: [n, P]`.

    A dense solver, and a search without reorthogonalisation, leave rounding errors of up to P eps |H|: in single
    precision and for a large P, `converged` then says less than for Lanczos.
    """
    residuals = (H(V) - values[:, None] * V).norm(dim=1)
    size = values.abs()
    largest = size.max() if len(size) else size.new_zeros(())
    least = H.size * torch.finfo(H.dtype).eps * float(largest)
    allowed = (tol * size.clamp(min=float(FLOOR * largest))).clamp(min=least)
    return _result(values, residuals, residuals <= allowed, _signed(V) if vectors else None)


def _result(values: Tensor, residuals: Tensor, converged: Tensor, V: Tensor | None) -> Extremes:
    return Extremes(values.where(converged, torch.nan), residuals, converged, V)


def _signed(V: Tensor) -> Tensor:
    """Unit rows, their largest entry positive: a vector's sign means nothing, and so it is always the same."""
    V = V / V.norm(dim=1, keepdim=True)
    return V * V.gather(1, V.abs().argmax(1, keepdim=True)).sign()
