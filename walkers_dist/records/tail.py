"""A table read while another process writes it: at each look the rows that are new."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from walkers_dist.records import disk

Row = dict[str, str]


class Tail:
    """`look` gives the new rows, and whether they are all there are, since the table was cut (by a resume)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at, self._end = 0, b""
        self._header: list[str] = []

    def look(self) -> tuple[bool, Iterator[Row]]:
        try:
            with self.path.open("rb") as file:
                again = self._at > 0 and self._is_another(file.fileno())
                if again:
                    self._at, self._end, self._header = 0, b"", []
                file.seek(self._at)
                new = disk.whole_lines(file.read())
        except FileNotFoundError:
            return False, iter(())
        self._at += len(new)
        self._end = new[-64:] or self._end
        cells = csv.reader(new.decode(errors="replace").splitlines())
        if not self._header:
            self._header = next(cells, [])
        return again, (dict(zip(self._header, row, strict=False)) for row in cells)

    def _is_another(self, fd: int) -> bool:
        """Whether what was read last is no longer there."""
        return os.pread(fd, len(self._end), self._at - len(self._end)) != self._end
