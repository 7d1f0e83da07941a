"""The course of a run: the experiment as changed so far, and what is due at which step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any

from walkers_dist.config.changes import apply_change
from walkers_dist.config.merge import get
from walkers_dist.config.schema import Experiment, measured_from_snapshots

SNAPSHOT = "snapshot"
"""The source of what is no change of the experiment: a snapshot that was asked for."""


@dataclass(frozen=True)
class Change:
    """A row of `events.csv`, without its time."""

    step: int
    source: str
    key: str
    old: object
    new: object


@dataclass(frozen=True)
class Due:
    """What is due at a step; true if walkers report."""

    rows: bool
    distances: bool
    snapshot: bool
    checkpoint: bool
    report: bool
    last: bool

    def __bool__(self) -> bool:
        return self.report


@dataclass(frozen=True)
class History:
    """What came before the step that a course begins at; nothing, for a new run."""

    begin: int = 0
    resumed: bool = False
    """Whether there is a checkpoint of that step: it is not written again."""
    ended: bool = False
    """Whether a rule ended the run there."""
    made: tuple[Change, ...] = ()
    """The changes of the steps before."""
    given: tuple[Change, ...] = ()
    """Changes made by hand, beside the schedule, that act from there on, and snapshots asked for."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> History:
        changes = {key: tuple(Change(**change) for change in fields[key]) for key in ("made", "given")}
        return cls(**{**fields, **changes})


NOTHING = Due(False, False, False, False, False, False)


class Course:
    """Follows an experiment through its steps; every process of a run has one and they agree."""

    def __init__(self, experiment: Experiment, history: History = History()) -> None:
        self.experiment = experiment
        self._schedule = experiment.schedule
        self._given = history.given
        self.resumed = history.resumed
        self._resumed_at = history.begin if history.resumed else None
        self._step = history.begin - 1
        self._end = history.begin if history.ended else None
        self._asked = -1  # the step of the last snapshot that was asked for
        for change in history.made:
            self.experiment = apply_change(self.experiment, change.key, change.new)
        self._happening = {entry.at for entry in self._schedule} | {change.step for change in self._given}
        self._clocks = _clocks(self.experiment)

    @property
    def step(self) -> int:
        """The step that was entered last; the one before the first, at the beginning."""
        return self._step

    @property
    def given(self) -> tuple[Change, ...]:
        """What was given by hand, in the order in which it was given."""
        return self._given

    def give(self, number: int, changes: Iterable[Change]) -> None:
        """Let these be given by hand from the `number`-th on, those of steps yet to come; twice is as good as once."""
        self._given = (*self._given[:number], *changes)
        self._happening = self._happening | {change.step for change in self._given[number:]}

    def copy(self) -> Course:
        """Another one at the same step, which goes its own way."""
        return copy(self)  # what it holds is never changed in place

    def heed(self, answer: Mapping[str, Any]) -> None:
        """Take in what a report was answered: the last step, and what was given."""
        if answer.get("given"):
            number, changes = answer["given"]
            self.give(number, (Change(**change) for change in changes))
        if answer.get("last") is not None:
            self.end(answer["last"])

    @property
    def last(self) -> int:
        """The last step: `steps`, or earlier where the run was ended, never one that is past."""
        end = self.experiment.steps if self._end is None else min(self.experiment.steps, self._end)
        return max(end, self._step)

    def advance(self, t: int) -> list[Change]:
        """Enter step t: the changes of this step, now made, the scheduled ones first."""
        self._step = t
        if t not in self._happening:
            return []
        scheduled = [("schedule", key, value) for e in self._schedule if e.at == t for key, value in e.set.items()]
        given = [change for change in self._given if change.step == t]
        by_hand = [(change.source, change.key, change.new) for change in given if change.source != SNAPSHOT]
        made = [self.change(key, value, source=source) for source, key, value in (*scheduled, *by_hand)]
        if len(by_hand) < len(given):
            self._asked, self._clocks = t, (*_clocks(self.experiment), t)  # as a clock that strikes now
        return made

    def rest(self) -> Iterator[tuple[int, list[Change]]]:
        """Go on to each step, up to the last, at which something changes: the step, and what changed."""
        for t in sorted(self._happening):
            if self._step < t <= self.last:
                yield t, self.advance(t)

    def experiment_at(self, t: int) -> Experiment:
        """The experiment as it is at step t, by all changes up to there."""
        for step in sorted(step for step in self._happening if step <= t):
            self.advance(step)
        return self.experiment

    def change(self, key: str, value: object, *, source: str) -> Change:
        """Make a change at the current step. Raises UserError where it is none that a run can make."""
        before = self.experiment
        self.experiment = apply_change(before, key, value)
        self._clocks = _clocks(self.experiment)
        old, new = (get(experiment.model_dump(), key) for experiment in (before, self.experiment))
        return Change(self._step, source, key, old, new)

    def next_report(self) -> int:
        """Go on to the next step at which walkers report, and return it; the last one has a report."""
        while True:
            t = self._step
            ahead = [step for step in self._happening if step > t]
            self.advance(min([self.last, *ahead, *(every * (t // every + 1) for every in self._clocks)]))
            if self.due(self._step):
                return self._step

    def end(self, last: int) -> None:
        """Let the run end at this step, or now if that is past; a later `steps` does not raise it again."""
        self._end = last if self._end is None else min(last, self._end)

    def due(self, t: int) -> Due:
        """What is due at step t."""
        last = t == self.last
        if not last and all(t % every for every in self._clocks):  # most steps
            return NOTHING
        e = self.experiment
        distances = e.probes.distances if e.probes else None
        snapshots = [e.snapshots.every, *measured_from_snapshots(e).values()] if e.snapshots else []
        rows = last or t % e.log.every == 0
        at_distances = distances is not None and (last or t % distances.every == 0)
        snapshot = t == self._asked or (bool(snapshots) and (last or any(t % every == 0 for every in snapshots)))
        checkpoint = e.checkpoint is not None and (last or (t > 0 and t % e.checkpoint.every == 0))
        report = rows or at_distances or snapshot or checkpoint or t % e.control.every == 0
        return Due(rows, at_distances, snapshot, checkpoint and t != self._resumed_at, report, last)


def _clocks(e: Experiment) -> tuple[int, ...]:
    """The periods, in steps, at which something may be due."""
    distances = e.probes.distances if e.probes else None
    sections = (e.log, e.control, e.snapshots, e.checkpoint, distances)
    return tuple({section.every for section in sections if section} | set(measured_from_snapshots(e).values()))
