"""Replicated SGD: robust ensembles on continuous weights, pulled together ever more strongly.

    mean_a f(w^a) + g mean_a |w^a - c|^2        is what y replicas w^a descend, with a learning rate of y eta:

    w^a <- w^a - eta [grad f^a(w^a) + 2 g (w^a - c)]

c is the mean of the replicas (`traced`), or a point that descends as well: c <- c + 2 eta g sum_a (w^a - c). The slope
goes through the dynamics, with their momentum, of the center too; with `entropy_sgd` it is eSGD. It acts at steps with
t mod period = 0, and g follows `scoping`. g = auto is the replicas' mean loss over their mean |w^a - c|^2 at the start.
Source: Baldassi et al., PNAS 113 (2016), arXiv 1605.06444; Pittorino et al., "Entropic gradient descent algorithms and
wide flat minima", arXiv 2006.07897, and the authors' program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from walkers_dist.config.kinds import Coupling, Event, NonNegative
from walkers_dist.coupling.rows import sum_finite_rows
from walkers_dist.coupling.scoping import Scoping

if TYPE_CHECKING:
    from torch import Tensor

    from walkers_dist.config.kinds import State, Sums


class Replicated(Coupling):
    name: Literal["replicated"] = "replicated"
    g: NonNegative | Literal["auto"] = 0.1
    scoping: Scoping | None = None
    traced: bool = True

    scalars: ClassVar[tuple[str, ...]] = ("losses", "squares")

    @property
    def follows_mean(self) -> bool:
        return self.traced

    @property
    def descends(self) -> bool:
        return not self.traced

    def impossible(self, walkers: int, apart: bool) -> str | None:
        if self.g == "auto" and (walkers == 1 or not apart):
            return "g = auto: must be a number where all walkers start at one point: it is a loss over their spread"
        return None

    def events(self, t: int) -> tuple[Event, ...]:
        if t % self.period:
            return ("gradient", "dynamics")
        first: tuple[Event, ...] = ("losses",) if self.g == "auto" else ()
        last: tuple[Event, ...] = () if self.traced else ("descend",)
        return (*first, "message", "gradient", "center", "force", "dynamics", *last)

    def message(self, X: Tensor, c: Tensor, state: State, t: int, out: Sums) -> None:
        took_part = sum_finite_rows(X, out, around=c)  # sum_a (w^a - c)
        if self.g == "auto" and "g" not in state:
            out["losses"].copy_(state["losses"][:, 0].where(took_part, 0.0).sum())
            out["squares"].copy_((X - c).square().sum(1).where(took_part, 0.0).sum())

    def center(self, c: Tensor, total: Sums, state: State, t: int) -> None:
        step = total.vector / total.count.clamp(min=1) * self.traced
        c.add_(step)  # c = mean_a w^a
        if self.g == "auto" and "g" not in state:  # around the old c: sum_a |w^a - c|^2 is larger by y |step|^2
            state["g"] = (total["losses"] / (total["squares"] - total.count * step.square().sum()))[None]

    def force(self, X: Tensor, g: Tensor, c: Tensor, state: State, t: int) -> None:
        g.add_((X - c).mul_(2 * self._strength(state, t)))

    def center_gradient(self, C: Tensor, c: Tensor, total: Sums, state: State, t: int) -> Tensor:
        return ((C - c) * total.count - total.vector).mul_(2 * self._strength(state, t))

    def _strength(self, state: State, t: int) -> float | Tensor:
        scoping = self.scoping or Scoping()
        return scoping.at(state["g"], t) if isinstance(self.g, str) else scoping.at(self.g, t)
