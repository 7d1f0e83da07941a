"""One matrix, multiplied by several ranks.

    A V = sum over ranks of A_share V     each on its share of the data: for the directions of a search
    rows of A, a few for each rank        each on all the data: for the matrix itself, with the bits of one process

Rank 0 leads. It alone runs the algorithm, holds bases and matrices, keeps states; before a product it says what is
multiplied, and the others add their part. So the ranks' processors need not round alike, and nothing else is shared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.operators import Operator, Share

END, MATRIX, PRODUCT = range(3)
"""What rank 0 says first: it is through; a name follows; directions follow."""
T = TypeVar("T")
Make = Callable[[str, Share], Operator]
"""`(name, (i, n))` -> what share i of n of the data adds to the matrix of that name, as `hessian(…, share=(i, n))`."""


class Team(Protocol):
    """Ranks that call the same methods in the same order, with contiguous tensors of one shape on the CPU."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def broadcast(self, tensor: Tensor) -> None:
        """Give every rank what rank 0 has in `tensor`, in place."""

    def sum(self, tensor: Tensor) -> None:
        """Give rank 0 at least the sum over the ranks, in place."""


@dataclass(frozen=True, kw_only=True)
class Shared(Operator):
    """An Operator of rank 0 whose products all ranks make, each on its share of the data.

    `apart(V, at_once)`: the same products with `at_once` of the rows of V for each rank, on all the data; for at most
    `ranks * at_once` rows. `whole()`: the matrix as rank 0 has it alone.
    """

    ranks: int
    apart: Callable[[Tensor, int], Tensor]
    whole: Callable[[], Operator]


def lead(team: Team, make: Make, work: Callable[[Callable[[str], Operator]], T]) -> T | None:
    """On rank 0 `work(matrix)`, and what it returns; the others multiply until that is through, and return None.

    `matrix(name)` is the Operator of `make(name, (0, 1))`, its products made by all ranks: give it to `extremes`,
    `density`, `spectrum`. Raises on rank 0 what `work` raises, and `PeerLost` where another rank is gone.
    """
    if team.size == 1:
        return work(lambda name: make(name, (0, 1)))
    if team.rank > 0:
        _follow(team, make)
        return None
    leader = _Leader(team, make)
    try:
        found = work(leader.matrix)
    except UserError:
        leader.say(END)
        raise  # any other error may have come in the middle of a product: the others see that this rank leaves
    leader.say(END)
    return found


class _Part:
    """One rank's part of a matrix; what it needs of the data is prepared when it is first asked for."""

    def __init__(self, team: Team, make: Make, name: str) -> None:
        self.team, self.make, self.name = team, make, name

    @cached_property
    def mine(self) -> Operator:
        return self.make(self.name, (self.team.rank, self.team.size))

    @cached_property
    def whole(self) -> Operator:
        return self.make(self.name, (0, 1))

    def times(self, V: Tensor, at_once: int) -> Tensor:
        """`V: [C, P]` on the CPU times the matrix; for `at_once` see `Shared.apart`, with 0 the data are shared."""
        out, wrong = torch.zeros_like(V), None
        rows = slice(self.team.rank * at_once, (self.team.rank + 1) * at_once) if at_once else slice(None)
        try:
            if len(V[rows]):
                A = self.whole if at_once else self.mine
                out[rows] = A(V[rows].to(A.device)).cpu()
        except UserError as error:  # the others wait for the sum
            wrong = error
            out.fill_(torch.nan)
        self.team.sum(out)
        if wrong:
            raise wrong
        return out


class _Leader:
    def __init__(self, team: Team, make: Make) -> None:
        self.team, self.make = team, make
        self._known: _Part | None = None  # to the others

    def matrix(self, name: str) -> Shared:
        part = _Part(self.team, self.make, name)
        like = part.mine

        def product(V: Tensor, at_once: int = 0) -> Tensor:
            if self._known is not part:
                text = torch.tensor(list(name.encode()), dtype=torch.uint8)
                self.say(MATRIX, len(text))
                self.team.broadcast(text)
                self._known = part
            directions = V.detach().cpu().contiguous()
            self.say(PRODUCT, *V.shape, V.dtype.itemsize, at_once)
            self.team.broadcast(directions)
            return part.times(directions, at_once).to(V.device)

        return Shared(
            product,
            like.size,
            like.dtype,
            like.device,
            blocks=like.blocks,
            ranks=self.team.size,
            apart=product,
            whole=lambda: part.whole,
        )

    def say(self, *words: int) -> None:
        self.team.broadcast(torch.tensor([*words, *[0] * (5 - len(words))]))


def _follow(team: Team, make: Make) -> None:
    part = _Part(team, make, "")
    while True:
        said = torch.zeros(5, dtype=torch.int64)
        team.broadcast(said)
        what, count, P, itemsize, at_once = said.tolist()
        if what == END:
            return
        if what == MATRIX:
            text = torch.zeros(count, dtype=torch.uint8)
            team.broadcast(text)
            part = _Part(team, make, bytes(text.tolist()).decode())
            continue
        V = torch.zeros(count, P, dtype={4: torch.float32, 8: torch.float64}[itemsize])
        team.broadcast(V)
        try:
            part.times(V, at_once)
        except UserError:  # rank 0 has met it too, or sees that the sum is not finite
            continue
