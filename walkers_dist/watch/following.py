"""What a run has come to, from the rows that its tables have grown by since the last look. Loads no torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from walkers_dist.api.listing import is_lost, steps_of
from walkers_dist.config import text
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tail import Row, Tail

HISTORY = 256
"""Losses kept of each walker; beyond it every second one goes, and from then on every second is taken."""
EVENTS = 3


@dataclass
class Curve:
    """A walker's training loss so far, thinned."""

    every: int = 1
    seen: int = 0
    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        if self.seen % self.every == 0:
            self.values.append(value)
        self.seen += 1
        if len(self.values) > HISTORY:
            self.values, self.every = self.values[::2], 2 * self.every


@dataclass
class State:
    """What is shown. Rows are those of the last step that has any, as texts."""

    status: str = "unknown"
    name: str = ""
    step: int = 0
    steps: int = 0
    elapsed: float = 0.0
    rate: float = 0.0
    """Steps per second of stepping, of late."""
    walkers: dict[str, Row] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    distances: list[Row] = field(default_factory=list)
    spectra: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    """(walker, matrix) -> the edges at its last step, top first."""
    events: deque[Row] = field(default_factory=lambda: deque(maxlen=EVENTS))
    error: str = ""

    @property
    def has_ended(self) -> bool:
        return self.status in ("done", "interrupted", "failed", "lost")


class Follower:
    """Raises UserError where the directory holds no run."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        keys = text.read(run.config)
        self._name = str(keys.get("name", run.path.name))
        self._keys = keys
        self._begin()

    def look(self) -> State:
        """How the run stands now. What it was asked for, and its last rows, are always a whole block."""
        info = self.run.read_info()
        for name, take in self._takes.items():
            again, rows = self._tails[name].look()
            if again:
                self._begin()
                return self.look()
            take(rows)
        state = self.state
        state.status = "lost" if is_lost(self.run, info) else str(info.get("status", "unknown"))
        state.steps = steps_of(self.run, self._keys)
        if self.run.error.is_file():
            state.error = self.run.error.read_text(errors="replace").strip()
        return state

    def _begin(self) -> None:
        self.state = State(name=self._name)
        self._pace: deque[tuple[int, float]] = deque(maxlen=20)
        self._takes: dict[str, Any] = {
            "results": self._results,
            "distances": self._distances,
            "eigenvalues": self._eigenvalues,
            "events": self._events,
        }
        self._tails = {name: Tail(self.run.table(name)) for name in self._takes}

    def _results(self, rows: Iterator[Row]) -> None:
        state = self.state
        for row in rows:
            step, seconds = int(row["step"]), float(row["elapsed"] or "nan")
            if not self._pace or self._pace[-1][0] != step:
                self._pace.append((step, seconds))
            state.step, state.elapsed = step, seconds
            state.walkers[row["walker"]] = row
            if row["train_loss"]:
                state.curves.setdefault(row["walker"], Curve()).add(float(row["train_loss"]))
        if len(self._pace) > 1:
            (s0, t0), (s1, t1) = self._pace[0], self._pace[-1]
            state.rate = (s1 - s0) / (t1 - t0) if t1 > t0 else 0.0

    def _distances(self, rows: Iterator[Row]) -> None:
        for row in rows:
            if self.state.distances and self.state.distances[-1]["step"] != row["step"]:
                self.state.distances = []
            self.state.distances.append(row)

    def _eigenvalues(self, rows: Iterator[Row]) -> None:
        for row in rows:
            if row["side"] not in ("top", "bottom"):
                continue
            key = row["walker"], row["matrix"]
            known = self.state.spectra.get(key, [])
            if known and known[-1]["step"] != row["step"]:
                known = []
            self.state.spectra[key] = [*known, row]

    def _events(self, rows: Iterator[Row]) -> None:
        self.state.events.extend(rows)
