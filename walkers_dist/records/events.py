"""The table of events: in the order of steps, although a change is written down before it acts."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from walkers_dist.config.course import Change
from walkers_dist.records.tables import COLUMNS, Table, read_rows

STEP, TIME, SOURCE, KEY, OLD, NEW = range(6)
Row = list[str]


class Events:
    """`events.csv`, which several threads may write; what is there from before a resume is not written again."""

    def __init__(self, path: Path) -> None:
        self._table = Table(path, COLUMNS["events"])
        self._lock = threading.Lock()
        self._rows = [list(row.values()) for row in read_rows(path)]
        self._foretold = list(self._rows)
        """Rows of what has not happened since this start."""

    def foretell(self, changes: Sequence[Change]) -> None:
        """Write down what will happen; on the disk when this returns."""
        with self._lock:
            rows = [self._row(change) for change in changes]
            self._insert(rows)
            self._foretold += rows

    def tell(self, change: Change) -> None:
        """Write down what happens now, unless that was foretold; then only what it changes may have changed since."""
        with self._lock:
            row = self._row(change)
            for number, known in enumerate(self._foretold):
                if all(known[cell] == row[cell] for cell in (STEP, SOURCE, KEY, NEW)):
                    del self._foretold[number]
                    if known[OLD] != row[OLD]:
                        known[OLD] = row[OLD]
                        self._table.rewrite(self._rows)
                    return
            self._insert([row])

    def sync(self) -> None:
        self._table.sync()

    def close(self) -> None:
        with self._lock:
            self._table.close()

    def _insert(self, rows: Sequence[Row]) -> None:
        before = len(self._rows)
        merged = list(self._rows)
        for row in rows:
            merged.insert(_place(merged, row), row)
        if merged[:before] == self._rows:
            self._table.append(rows)
            self._table.sync()
        else:
            self._table.rewrite(merged)
        self._rows = merged

    @staticmethod
    def _row(change: Change) -> Row:
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        return [str(change.step), now, change.source, change.key, _cell(change.old), _cell(change.new)]


def change_of(row: Mapping[str, str]) -> Change:
    """What a row tells."""
    old, new = (json.loads(cell) if cell else "" for cell in (row["old"], row["new"]))
    return Change(int(row["step"]), row["source"], row["key"], old, new)


def _cell(value: object) -> str:
    """As JSON, but of what there is none the cell is empty."""
    return "" if value == "" else json.dumps(value)


def _place(rows: Sequence[Row], new: Row) -> int:
    """Before the first row of a later step; of one step, what is scheduled comes first.

    A resume stands where it came, between rows of later steps.
    """
    order = _order(new)
    later = (number for number, row in enumerate(rows) if row[SOURCE] != "resume" and _order(row) > order)
    return next(later, len(rows))


def _order(row: Row) -> tuple[int, bool]:
    return int(row[STEP]), row[SOURCE] != "schedule"
