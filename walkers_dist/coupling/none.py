"""No force: every walker goes its own way.

center: mean     the mean of the walkers, moved by no one
        gd       a reference, moved every step by the walkers' dynamics on the gradient of the whole training set
                 ("worker 0" of the program elementary-walkers at alpha = 0)
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from walkers_dist.config.kinds import Coupling, Event


class NoCoupling(Coupling):
    name: Literal["none"] = "none"
    kept_as: Literal["mean", "gd"] = Field(default="mean", alias="center")

    @property
    def follows_mean(self) -> bool:
        return self.kept_as == "mean"

    @property
    def descends(self) -> bool:
        return self.kept_as == "gd"

    def events(self, t: int) -> tuple[Event, ...]:
        return ("gradient", "dynamics", "descend") if self.descends else ("gradient", "dynamics")
