"""Gathers the parts of a step from the processes that write them, and seals whole steps in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from walkers_dist.records.files import Digest
from walkers_dist.records.index import Entry, Part, part_name


@dataclass
class _Step:
    last: bool
    awaited: set[str]
    parts: dict[str, Part] = field(default_factory=dict)


class Parts:
    """The coordinator's view of what is being written; `seal` makes a whole step one that exists."""

    def __init__(self, seal: Callable[[Entry], None]) -> None:
        self._seal = seal
        self._steps: dict[int, _Step] = {}

    def expect(self, step: int, processes: Iterable[str], last: bool = False) -> None:
        """The named processes will write a part of `step`, which comes after every step expected so far."""
        if self._steps and step <= max(self._steps):
            raise ValueError(f"step {step} is expected after step {max(self._steps)}")
        self._steps[step] = _Step(last, set(processes))

    def add(self, step: int, process: str, digest: Digest, walkers: Sequence[str]) -> list[int]:
        """A process has written its part. Returns the steps that this completes, now sealed.

        A whole step waits for the steps before it, so readers meet the steps in order. Raises KeyError for a part
        that is not expected.
        """
        expected = self._steps[step]
        expected.awaited.remove(process)
        expected.parts[part_name(process)] = Part(digest, tuple(walkers))
        sealed = []
        while self._steps and not (first := next(iter(self._steps.items())))[1].awaited:
            step, whole = first
            self._seal(Entry(step, dict(sorted(whole.parts.items())), whole.last))
            del self._steps[step]
            sealed.append(step)
        return sealed

    def pending(self) -> dict[int, list[str]]:
        """Step -> the processes whose part is still to come."""
        return {step: sorted(expected.awaited) for step, expected in self._steps.items()}
