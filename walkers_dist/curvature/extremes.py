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
from walkers_dist.curvature.memory import free_memory
from walkers_dist.curvature.operators import Operator
from walkers_dist.curvature.rayleigh import rayleigh
from walkers_dist.curvature.search import FLOOR, Search
from walkers_dist.curvature.state import SearchState

LEAST_BASIS, MOST_BASIS = 60, 150
"""Lanczos vectors kept: a restart throws away what a product has found, so that 60 cost twice the products of 150."""
SHARE = 0.5
"""The part of the free memory that a basis may take."""
Progress = Callable[[int, int, int], object]


@dataclass(frozen=True)
class Extremes:
    """The `bottom` smallest and then the `top` largest eigenvalues, ascending [bottom + top]; all P where P is less.

    `residuals[i]` = |H v_i - eigenvalue_i v_i| for the unit vector v_i found; `converged[i]`: it is at most
    tol max(|eigenvalue_i|, 1e-3 max |eigenvalue|). What was not found is nan, at the inner end of its side.
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
    """The `top` largest and `bottom` smallest eigenvalues of H, in its dtype; about 120 products for 10 and 5.

    Repeated eigenvalues come as often as they occur: a run from one vector sees one of their vectors, so when all pairs
    have converged a second random direction is followed until a missed copy would show (`search.py`), 10 products or
    fewer where there is none. The run starts at `v0: [P]`, by default normal numbers of `seed`. A matrix no larger than
    the basis is solved densely. `method="rayleigh"` is an independent check, the original program's: L-BFGS on the
    Rayleigh quotient, one pair after another.

    `state` names a file in which the search is kept while it goes on: killed, it goes on from there, and gives the
    same bits. `progress(products, converged, wanted)` is called after every product.
    UserError if H has products that are not finite.
    """
    if top < 0 or bottom < 0 or not tol > 0:
        raise UserError(f"extremes: top = {top}, bottom = {bottom}, tol = {tol}: must be at least 0, and tol above 0")
    if top + bottom == 0:
        none = torch.zeros(0, dtype=H.dtype, device=H.device)
        return Extremes(none, none, none.bool(), none.new_zeros(0, H.size) if vectors else None)
    generator = torch.Generator().manual_seed(seed)
    if method == "rayleigh":
        values, V = rayleigh(H, min(top, H.size), min(bottom, H.size), generator)
        return _measured(H, values, V, tol, vectors)
    basis = _basis(H, top + bottom)
    if H.size <= basis:
        values, V = torch.linalg.eigh(matrix(H))
        bottom, top = min(bottom, H.size), min(top, H.size - min(bottom, H.size))
        chosen = torch.cat([torch.arange(bottom), torch.arange(H.size - top, H.size)])
        return _measured(H, values[chosen], V.T[chosen], tol, vectors)

    lanczos = Lanczos(H, basis, generator)
    start = torch.randn(H.size, generator=generator, dtype=H.dtype) if v0 is None else v0.detach()
    lanczos.start(start.to(H.device, H.dtype))
    search = Search(lanczos, top, bottom, tol)
    kept = SearchState(Path(state), search) if state is not None else None

    def each(converged: int) -> None:
        if kept:
            kept.save()
        if progress:
            progress(lanczos.products, converged, top + bottom)

    values, residuals, converged, S = search.run(each)
    rows = _signed(lanczos.vectors(S)) if vectors else None
    if kept:
        kept.remove()
    return Extremes(values.to(H.device, H.dtype), residuals.to(H.device, H.dtype), converged.to(H.device), rows)


def _basis(H: Operator, wanted: int) -> int:
    """150 vectors where memory allows, at least 60 and 4 for each wanted pair; a small matrix has fewer."""
    least = max(4 * wanted, LEAST_BASIS)
    row = H.size * torch.empty(0, dtype=H.dtype).element_size()
    fits = int(SHARE * free_memory(H.device) / row)
    return max(least, min(MOST_BASIS, fits))


def _measured(H: Operator, values: Tensor, V: Tensor, tol: float, vectors: bool) -> Extremes:
    """With residuals by products: values [n], `V: [n, P]`."""
    residuals = (H(V) - values[:, None] * V).norm(dim=1)
    size = values.abs()
    largest = size.max() if len(size) else size.new_zeros(())
    allowed = (tol * size.clamp(min=float(FLOOR * largest))).clamp(min=torch.finfo(H.dtype).eps * float(largest))
    # A dense solver leaves rounding errors of the whole matrix; they are small, and no sign of a wrong pair.
    allowed = allowed.clamp(min=H.size * torch.finfo(H.dtype).eps * float(largest))
    return Extremes(values, residuals, residuals <= allowed, _signed(V) if vectors else None)


def _signed(V: Tensor) -> Tensor:
    """Unit rows, their largest entry positive: a vector's sign means nothing, and so it is always the same."""
    V = V / V.norm(dim=1, keepdim=True)
    return V * V.gather(1, V.abs().argmax(1, keepdim=True)).sign()
