"""A user's coupling with a memory of the center and one of each walker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from walkers_dist.coupling.easgd import EASGD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from walkers_dist.config.kinds import State, Sums


class Remembering(EASGD):
    name: str = ""

    def state(self, names: Sequence[str], P: int) -> State:
        import torch

        return {"velocity": torch.zeros(P), "pull": torch.zeros(len(names), P)}

    def move(self, X: Tensor, c: Tensor, state: State, t: int) -> None:
        state["pull"].mul_(0.5).add_(c - X, alpha=self.alpha)
        X.add_(state["pull"])

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        state["velocity"].mul_(0.5).add_(total.vector, alpha=self.alpha)
        c.add_(state["velocity"])
