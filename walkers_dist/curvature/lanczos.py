"""Thick-restart Lanczos (Wu & Simon, "Thick-restart Lanczos method for symmetric eigenvalue problems", 2000).

The basis is a set of orthonormal rows Q; some have been multiplied by H ("done", D), some still wait ("open", O):

    H Q_D^T = Q_D^T T_DD + Q_O^T T_OD

holds at every moment, whatever was restarted or added. So the pair (theta, s) of the small matrix T_DD gives the
approximate eigenvector Q_D^T s, and the norm of its residual is exactly |T_OD s|. Usually one row is open: the next
Lanczos vector. A second one is open while a new random direction is followed (see `search.py`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.operators import Operator

SECOND_PASS = math.sqrt(0.5)
"""A vector that Gram-Schmidt makes shorter than this part of itself is orthogonalised again."""
BREAKDOWN = 10
"""times the rounding error of H: a vector as short as that is noise, and the space found so far is invariant."""
LEFT = 4
"""times the precision: what a vector may keep of another after Gram-Schmidt."""
GAP = 8
"""Rows that are taken along rather than begin another slice."""
COLUMNS_AT_ONCE = 4096
"""of the basis that a restart turns in place."""


class Lanczos:
    """Rows `Q[:n]` in the dtype and on the device of H, and their T in float64: at most `basis` are done.

    Rows lie in this order: `waiting` open ones, those that are done, and the one whose turn is next.
    """

    def __init__(self, H: Operator, basis: int, generator: torch.Generator) -> None:
        self.H, self.basis, self.generator = H, basis, generator
        self.Q = torch.empty(basis + 1, H.size, dtype=H.dtype, device=H.device)
        self.T = torch.zeros(basis + 1, basis + 1, dtype=torch.float64)
        self.n = self.waiting = self.products = 0
        self.scale = 0.0  # the largest |H q| so far, from below a bound of |H|
        self.eps = torch.finfo(H.dtype).eps

    @property
    def done(self) -> slice:
        """The rows that are done."""
        return slice(self.waiting, self.n - 1)

    @property
    def full(self) -> bool:
        return self.n == self.basis + 1

    def start(self, v: Tensor) -> None:
        """Begin with the direction of `v: [P]`."""
        self.Q[0] = v / v.norm()
        self.n = 1

    def step(self) -> None:
        """Multiply the next row by H, and append what is orthogonal to all rows as the new next row.

        UserError if the product is not finite.
        """
        Q, T, j = self.Q[: self.n], self.T, self.n - 1
        w = self.H(Q[j : j + 1])[0].clone()  # the identity may return its argument
        self.products += 1
        length = float(w.norm())
        if not math.isfinite(length):
            raise UserError("a product of the matrix is not finite: its eigenvalues mean nothing")
        self.scale = max(self.scale, length)

        coupled = T[:j, j].nonzero()[:, 0]  # known by symmetry: the row before, or all that a restart kept
        if len(coupled):
            rows = slice(int(coupled[0]), int(coupled[-1]) + 1)
            w.addmv_(self.Q[rows].T, T[rows, j].to(w), alpha=-1)
        alpha = float(Q[j] @ w)
        w.add_(Q[j], alpha=-alpha)
        T[j, j] = alpha
        before = float(w.norm())
        for _ in range(3):
            h = self._take_off(w, before)
            T[j, j] += h[j]
            T[: self.waiting, j] += h[: self.waiting]
            beta = float(w.norm())
            if beta > SECOND_PASS * before or beta <= self._noise:
                break
            before = beta
        T[j, : self.waiting] = T[: self.waiting, j]
        if beta > self._noise:
            self.Q[self.n] = w.div_(beta)
            T[self.n, j] = T[j, self.n] = beta
            self.n += 1
        else:
            self._append_random()

    def _take_off(self, w: Tensor, length: float) -> Tensor:
        """Make `w: [P]` of this length orthogonal to all rows: the parts h [n] that it had along them, and has no more.

        What is rounding error already is left: the rows that need it are few, those that span what has converged.
        """
        h = self.Q[: self.n] @ w
        parts = h.double().cpu()
        needed = parts.abs() > LEFT * self.eps * length
        for rows in runs(needed.nonzero()[:, 0].tolist()):
            w.addmv_(self.Q[rows].T, h[rows], alpha=-1)
            needed[rows] = True
        return parts * needed

    @property
    def _noise(self) -> float:
        return BREAKDOWN * self.eps * self.scale

    def follow_random(self) -> None:
        """Let the next row wait, and go on with a random direction orthogonal to all rows. Needs a free row."""
        self._swap(self.waiting, self.n - 1)
        self.waiting += 1
        self._append_random()

    def follow(self, row: int) -> None:
        """Go on with the waiting row `row` instead of the next one."""
        self._swap(row, self.n - 1)

    def _append_random(self) -> None:
        r = torch.randn(self.H.size, generator=self.generator, dtype=self.H.dtype).to(self.H.device)
        r.div_(r.norm())
        Q = self.Q[: self.n]
        for _ in range(3):
            r.addmv_(Q.T, Q @ r, alpha=-1)
            r.div_(r.norm())
        self.Q[self.n] = r
        self.T[self.n].zero_()
        self.T[:, self.n].zero_()
        self.n += 1

    def _swap(self, i: int, j: int) -> None:
        if i != j:
            self.Q[[i, j]] = self.Q[[j, i]]
            self.T[[i, j]] = self.T[[j, i]]
            self.T[:, [i, j]] = self.T[:, [j, i]]

    def ritz(self) -> tuple[Tensor, Tensor, Tensor]:
        """theta [d] ascending, S [d, d] with the vectors as columns, and what each leaves along open rows [open, d]."""
        theta, S = torch.linalg.eigh(self.T[self.done, self.done])
        open_rows = torch.cat([self.T[: self.waiting, self.done], self.T[self.n - 1 : self.n, self.done]])
        return theta, S, open_rows @ S

    def vectors(self, S: Tensor) -> Tensor:
        """The vectors Q_D^T S as rows: [columns of S, P]."""
        return S.T.to(self.Q) @ self.Q[self.done]

    def restart(self, theta: Tensor, S: Tensor, left: Tensor) -> None:
        """Keep of the done rows only what the pairs `theta: [c]`, `S: [d, c]`, `left: [open, c]` of `ritz` span."""
        kept, first, last = len(theta), self.waiting, self.n - 1
        turn = S.T.to(self.Q)
        for at in range(0, self.H.size, COLUMNS_AT_ONCE):
            columns = self.Q[:, at : at + COLUMNS_AT_ONCE]
            columns[first : first + kept] = turn @ columns[self.done]
            columns[first + kept] = columns[last]
        self.n = first + kept + 1
        self.T.zero_()
        self.T[self.done, self.done] = theta.diag()
        for row, coupling in zip([*range(first), self.n - 1], left, strict=True):
            self.T[row, self.done] = self.T[self.done, row] = coupling


def runs(rows: list[int]) -> list[slice]:
    """The ascending `rows` as slices, over gaps of less than `GAP`."""
    found: list[slice] = []
    for row in rows:
        if found and row - found[-1].stop < GAP:
            found[-1] = slice(found[-1].start, row + 1)
        else:
            found.append(slice(row, row + 1))
    return found
