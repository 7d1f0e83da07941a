"""Walkers that take turns: in step t, a tick, walker t mod p visits the center, by a clock of its own, t div p.

A visit is a step of the same dynamics and coupling on that walker's row alone: an asynchronous layout in which nobody
waits for anybody, with the visits in a fixed order.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from torch import Tensor

from walkers_dist.roles.walkers import COUPLING, DESCENT, Walkers

if TYPE_CHECKING:
    from walkers_dist.config.kinds import State


class RoundRobin(Walkers):
    """`state` and `memory` of the rows are in `_alone`; here `memory` is what the coupling remembers of the center."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._alone = [self._row(k) for k in range(len(self.names))]
        self.memory = _of_center(self.memory)
        del self._minibatch  # the rows have their own

    def _row(self, k: int) -> Walkers:
        """Walker k on its own, in the same place of memory, around the same center."""
        row, one, dynamics = copy(self), slice(k, k + 1), self.course.experiment.dynamics
        row.names, row.X, row.state = self.names[one], self.X[one], {}
        row.memory = {key: v[one] for key, v in self.memory.items() if v.ndim == 2}
        row._keys = self._keys[one]
        batch = None if dynamics.full_batch else dynamics.batch_size
        row._minibatch = self.landscape.minibatches(row.names, batch)
        return row

    def step(self, t: int) -> None:
        clock, k = divmod(t, len(self.names))
        row = self._alone[k]
        row.memory |= self.memory
        Walkers.step(row, clock)
        self.memory = _of_center(row.memory)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        named = super().state_dict()
        for row in self._alone:
            named |= {name: Walkers.state_dict(row)[name] for name in row.names}
        return named

    def load_state_dict(self, named: Mapping[str, Mapping[str, Tensor]]) -> None:
        for row in self._alone:
            Walkers.load_state_dict(row, {who: named[who] for who in (*row.names, COUPLING, DESCENT) if who in named})
            self.memory = _of_center(row.memory)


def _of_center(memory: State) -> State:
    """What a coupling remembers of the center, taken out of all that it does."""
    return {key: memory.pop(key) for key, v in list(memory.items()) if v.ndim == 1}
