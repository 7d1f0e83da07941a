"""The one loop: what happens in a step, in order, for whichever roles this process plays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from walkers_dist.config.course import Change, Course, Due


class Role(Protocol):
    def changed(self, changes: Sequence[Change]) -> None: ...
    def report(self, t: int, due: Due) -> None: ...
    def hear(self) -> None: ...
    def step(self, t: int) -> None: ...
    def close(self) -> None: ...


def walk(course: Course, roles: Sequence[Role], begin: int) -> int:
    """Run the steps from `begin`, the state after `begin` gradients, to the last; returns the last.

    Every process of a run is in this loop at about the same step. Walkers come before the coordinator where one
    process plays both.
    """
    t = begin
    while True:
        if changes := course.advance(t):
            for role in roles:
                role.changed(changes)
        if due := course.due(t):
            for role in roles:
                role.report(t, due)
            for role in roles:
                role.hear()
        if t >= course.last:
            break
        for role in roles:
            role.step(t)
        t += 1
    for role in roles:
        role.close()
    return t
