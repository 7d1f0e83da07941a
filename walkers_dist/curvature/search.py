"""When a Lanczos run has both ends of a spectrum: convergence, restarts, and the check that no copy was missed.

From one start Lanczos finds one vector of each eigenspace and can never find another: of an eigenvalue that occurs
five times it sees one copy, and every residual is small. What was missed is orthogonal to the whole basis. So when all
wanted pairs have converged, a second random direction w, orthogonal to the basis, is followed. Its own Krylov space
lives where no found eigenvector is left, and there a missed copy stands out: after c steps its part of w, about
1 / sqrt(P), has grown by the Chebyshev polynomial T_{c-1}(1 + 2 gap / spread), with `gap` from the inner end of what
was found to the values of this second space and `spread` those values' range. It is followed until that growth would
show a copy though w had only `DOUBT` times its usual part in it (so one is missed with probability below `DOUBT`),
or for `CHECK` steps, when the inner end is no farther than this from the rest. If a wanted value changes, the run goes
on with both directions until all have converged, and checks again; k copies take k - 1 such rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from walkers_dist.curvature.lanczos import Lanczos

EVERY = 10
"""Steps from one test for convergence to the next."""
FLOOR = 1e-3
"""A residual is measured against |eigenvalue|, at least this part of the largest: relative to 0 none is small."""
DOUBT = 1e-3
CHECK = 10
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
            elif L.products % EVERY == 0 and L.n - 1 - L.waiting >= wanted:
                theta, S, left = L.ritz()
                converged = int(self._converged(theta, left)[self._wanted(theta)].sum())
                if converged == wanted:
                    self._begin_check()
                elif L.waiting:
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

    def _begin_check(self) -> None:
        L = self.lanczos
        if L.n + CHECK + 1 > L.basis + 1:
            self._restart()
        theta, _, _ = L.ritz()
        self.check = Check(L.n, theta[self._wanted(theta)])
        L.follow_random()

    def _look(self) -> None:
        """Judge the check after a step: a new value beyond an inner end, nothing in all steps it needs, or go on."""
        L, check = self.lanczos, self.check
        assert check is not None
        rows = slice(check.first, L.n - 1)
        steps = L.n - 1 - check.first
        own = torch.linalg.eigvalsh(L.T[rows, rows])
        low, high = float(own[0]), float(own[-1])
        gaps = []
        if self.bottom:
            gaps.append(low - float(check.values[self.bottom - 1]))
        if self.top:
            gaps.append(float(check.values[-self.top]) - high)
        gap, spread = min(gaps), high - low
        if gap > 0 and steps < min(CHECK, steps_needed(gap, spread, L.H.size)) and not L.full:
            return
        self.check = None
        theta, _, left = L.ritz()
        wanted = self._wanted(theta)
        change = (theta[wanted] - check.values).abs()
        slack = self._allowed(theta)[wanted].clamp(min=10 * L.eps * float(theta.abs().max()))
        self.found = bool((change <= slack).all() and self._converged(theta, left)[wanted].all())


def steps_needed(gap: float, spread: float, P: int) -> float:
    """Steps from a random start in P dimensions after which an eigenvalue beyond the others by `gap` shows.

    T_{c-1}(1 + 2 gap / spread) >= sqrt(P) / DOUBT, at least 2.
    """
    if gap <= 0:
        return math.inf
    growth = math.acosh(1 + 2 * gap / spread) if spread > 0 else math.inf
    return max(2, 1 + math.acosh(math.sqrt(P) / DOUBT) / growth)
