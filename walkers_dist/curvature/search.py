"""When a Lanczos run has both ends of a spectrum: convergence, restarts, and the check that no copy was missed.

From one start Lanczos finds one vector of each eigenspace and can never find another: of an eigenvalue that occurs
five times it sees one copy, and every residual is small. What was missed is orthogonal to the whole basis. So when all
wanted pairs have converged, a second random direction r, orthogonal to the basis, is followed. After c steps in its own
Krylov space, with values theta_i and couplings beta_i, a missed eigenvector x of value lambda has in the next row

    <q_{c+1}, x> = <r, x> prod_i (lambda - theta_i) / beta_i,     and that is at most 1.

So r is followed until a value beyond the inner end of what was found would ask for |<r, x>| below `DOUBT` of its usual
1 / sqrt(P): such a copy is missed with probability below `DOUBT`. Where the inner end is close to the other values
that would take long: it is given up after `CHECK` steps, or a tenth of all products, and what is then not excluded are
copies that lie closer to the inner end than those steps resolve. If a wanted value changes, the run goes on with both
directions until all have converged, multiplies what still waits (a copy that lies there is in no other row), and checks
again; k copies take k - 1 such rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from walkers_dist.curvature.lanczos import Lanczos

EVERY, PER_DECADE = 10, 4
"""Steps from one test for convergence to the next: at most, and for each factor of ten that a residual is too large."""
FLOOR = 1e-3
"""A residual is measured against |eigenvalue|, at least this part of the largest: relative to 0 none is small."""
DOUBT = 1e-3
CHECK, CHECK_SHARE = 10, 0.1
"""Steps that a check may take, and the part of all products so far, if that is more."""
TINY = torch.finfo(torch.float64).tiny
LIMIT = 40
"""times the basis: no more products than that."""


@dataclass
class Check:
    """A random direction is being followed since row `first`; the wanted values were `values: [wanted]`."""

    first: int
    values: Tensor


class Search:
    def __init__(self, lanczos: Lanczos, top: int, bottom: int, tol: float) -> None:
        self.lanczos, self.top, self.bottom, self.tol = lanczos, top, bottom, tol
        self.check: Check | None = None
        self.due = EVERY  # products made when the next test is
        self.swept = 0  # open rows that were multiplied since all have converged
        self.found = False

    def run(self, each: Callable[[int], None] = lambda converged: None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Values, residuals, converged [wanted], ascending, and vectors S. `each` is called after every product."""
        L = self.lanczos
        wanted, converged = self.top + self.bottom, 0
        while not self.found and L.products < LIMIT * L.basis:
            if L.full:
                self._restart()
            L.step()
            if self.check is not None:
                self._look()
            elif L.products >= self.due and L.n - 1 - L.waiting >= wanted:
                theta, S, left = L.ritz()
                excess = (left.norm(dim=0) / self._allowed(theta).clamp(min=TINY))[self._wanted(theta)]
                converged = int((excess <= 1).sum())
                self.due = L.products + to_go(float(excess.max()))
                if converged == wanted and L.waiting and self.swept <= L.waiting:
                    self._sweep()
                elif converged == wanted:
                    self._begin_check()
                else:
                    self.swept = 0
                    if L.waiting:
                        self._follow_the_largest(theta, left)
            each(converged)
        theta, S, left = L.ritz()
        chosen = self._wanted(theta)
        return theta[chosen], left.norm(dim=0)[chosen], self._converged(theta, left)[chosen], S[:, chosen]

    def _wanted(self, theta: Tensor) -> Tensor:
        places = torch.arange(len(theta))
        return torch.cat([places[: self.bottom], places[len(theta) - self.top :]])

    def _converged(self, theta: Tensor, left: Tensor) -> Tensor:
        return left.norm(dim=0) <= self._allowed(theta)

    def _allowed(self, theta: Tensor) -> Tensor:
        """The residual that is small enough; rounding of H leaves eps |H|."""
        largest = theta.abs().max()
        return (self.tol * theta.abs().clamp(min=FLOOR * largest)).clamp(min=self.lanczos.eps * largest)

    def _restart(self) -> None:
        """Keep the wanted pairs, and the outer half of the others."""
        theta, S, left = self.lanczos.ritz()
        spare = (len(theta) - self.top - self.bottom) // 2
        lower = spare // 2 if self.top and self.bottom else spare if self.bottom else 0
        below, above = self.bottom + lower, self.top + spare - lower
        kept = torch.cat([torch.arange(below), torch.arange(len(theta) - above, len(theta))])
        self.lanczos.restart(theta[kept], S[:, kept], left[:, kept])

    def _follow_the_largest(self, theta: Tensor, left: Tensor) -> None:
        """Go on with the open row that the pairs which have not converged need most."""
        L = self.lanczos
        wanted = self._wanted(theta)
        missing = wanted[~self._converged(theta, left)[wanted]]
        row = int(left[:, missing].norm(dim=1).argmax())
        if row < L.waiting:
            L.follow(row)

    def _sweep(self) -> None:
        """Multiply each open row once: a copy may lie in those, and the check is orthogonal to them."""
        if self.swept:
            self.lanczos.follow(self.swept - 1)
        self.swept += 1
        self.due = self.lanczos.products + 1

    def _begin_check(self) -> None:
        L, self.swept = self.lanczos, 0
        if L.n + self._patience() > L.basis:
            self._restart()
        theta, _, _ = L.ritz()
        self.check = Check(L.n, theta[self._wanted(theta)])
        L.follow_random()

    def _patience(self) -> int:
        return max(CHECK, int(CHECK_SHARE * self.lanczos.products))

    def _look(self) -> None:
        """Judge the check after a step: a wanted value has changed, nothing can be missing, or go on."""
        L, check = self.lanczos, self.check
        assert check is not None
        rows = slice(check.first, L.n - 1)
        own, beta = torch.linalg.eigvalsh(L.T[rows, rows]), L.T.diagonal(1)[rows]
        gaps = []  # from the inner ends to the values of the second space
        if self.bottom:
            gaps.append(own - check.values[self.bottom - 1])
        if self.top:
            gaps.append(check.values[-self.top] - own)
        beyond = any(float(gap.min()) <= 0 for gap in gaps)
        over = L.full or len(own) >= self._patience() or all(excluded(gap, beta, L.H.size) for gap in gaps)
        if not beyond and not over:
            return
        theta, _, left = L.ritz()
        wanted = self._wanted(theta)
        slack = self._allowed(theta)[wanted].clamp(min=10 * L.eps * float(theta.abs().max()))
        changed = bool(((theta[wanted] - check.values).abs() > slack).any())
        if changed or over:
            self.check, self.due = None, L.products + 1
            self.found = not changed and bool(self._converged(theta, left)[wanted].all())


def to_go(excess: float) -> int:
    """Steps to the next test, where the worst residual is `excess` times too large."""
    return 1 + int(min(EVERY - 1, PER_DECADE * math.log10(max(excess, 1))))


def excluded(gap: Tensor, beta: Tensor, P: int) -> bool:
    """Whether a value at distances `gap: [c]` from those of a space of c steps with couplings `beta: [c]` would show.

    The space began in a random direction of P dimensions. prod_i gap_i / beta_i >= sqrt(P) / DOUBT
    """
    return bool((gap > 0).all()) and float((gap.log() - beta.log()).sum()) >= math.log(math.sqrt(P) / DOUBT)
