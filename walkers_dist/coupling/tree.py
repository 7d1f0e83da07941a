"""EASGD-Tree: the walkers are the leaves of a tree, the center its root, and every edge pulls both its ends.

    x_child <- x_child - f,   x_parent <- x_parent + f,   f = alpha (x_child - x_parent) of old values for all edges

degrees: [a, b, …]      the root has a children, each of those b, …: walkers = a b …; alpha = 0.9 / (degree + 1)
schedule: levels        edges to leaves act at steps with t mod period = 0, those above at t mod slow_period = 0
          directions    parents move at t mod period = 0, children at t mod slow_period = 0

A tree of one level is EASGD, simultaneous. The nodes between root and leaves start at the center.
Source: Zhang, "Distributed stochastic optimization for deep learning", arXiv 1605.02216, chapter 6.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from walkers_dist.config.kinds import Coupling, Event, Period
from walkers_dist.coupling.rows import sum_finite_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from walkers_dist.config.kinds import State, Sums


class Tree(Coupling):
    name: Literal["tree"] = "tree"
    slow_period: Period = 4
    degrees: Annotated[tuple[Period, ...], Field(strict=False, min_length=1)] = (2, 2)
    alpha: Annotated[float, Field(gt=-1, lt=1)] = 0.3
    schedule: Literal["levels", "directions"] = "levels"

    def impossible(self, walkers: int, apart: bool) -> str | None:
        if self.slow_period % self.period:
            return f"slow_period = {self.slow_period}: must be a multiple of period = {self.period}"
        leaves = f"degrees = {list(self.degrees)}: must have a product of walkers = {walkers}"
        return None if prod(self.degrees) == walkers else leaves

    @property
    def vectors(self) -> int:
        return prod(self.degrees[:-1])

    def state(self, names: Sequence[str], P: int) -> State:
        import torch

        return {"leaf": torch.tensor([[float(name[1:])] for name in names])}

    def events(self, t: int) -> tuple[Event, ...]:
        pulled = self.schedule == "levels" or t % self.slow_period == 0
        exchange: tuple[Event, ...] = ("message", "gradient", "move") if pulled else ("message", "gradient")
        return (*(("gradient",) if t % self.period else exchange), "dynamics")

    def message(self, X: Tensor, c: Tensor, state: State, t: int, out: Sums) -> None:
        parent = state["leaf"][:, 0].long() // self.degrees[-1]
        sum_finite_rows(X, out, around=self._levels(c, state)[-1][parent], groups=parent)

    def move(self, X: Tensor, c: Tensor, state: State, t: int) -> None:
        X.lerp_(self._levels(c, state)[-1][state["leaf"][:, 0].long() // self.degrees[-1]], self.alpha)

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        levels, slow = self._levels(c, state), t % self.slow_period == 0
        edges = [(a, b, b.view(len(a), -1, len(c)) - a[:, None]) for a, b in pairwise(levels)]
        levels[-1].add_(total.vectors, alpha=self.alpha)
        for above, below, f in edges:
            above.add_(f.sum(1), alpha=self.alpha * (slow or self.schedule == "directions"))
            below.sub_(f.view_as(below), alpha=self.alpha * slow)

    def _levels(self, c: Tensor, state: State) -> list[Tensor]:
        """The center [1, P], then the nodes of each level above the leaves, as views: every process holds them all."""
        sizes = [prod(self.degrees[:depth]) for depth in range(1, len(self.degrees))]
        if "nodes" not in state or len(state["nodes"]) != sum(sizes) * len(c):
            state["nodes"] = c.repeat(sum(sizes))
        return [c[None], *(state["nodes"].view(-1, len(c)).split(sizes) if sizes else ())]
