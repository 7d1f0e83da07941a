"""No force: every walker goes its own way, and the center is their mean, moved by no one."""

from __future__ import annotations

from typing import ClassVar, Literal

from walkers_dist.config.kinds import Coupling, Event


class NoCoupling(Coupling):
    name: Literal["none"] = "none"
    follows_mean: ClassVar[bool] = True

    def events(self, t: int) -> tuple[Event, ...]:
        return ("gradient", "dynamics")
