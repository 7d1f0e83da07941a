"""The last rows of a run, without reading all the others, and the figures that stand for the run."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from walkers_dist.records import disk

CHUNK = 1 << 16  # bytes
Row = Mapping[str, str]


def last_rows(path: Path) -> list[dict[str, str]]:
    """The rows of the last step in a table that begins with `step`; none where there is no row, or no table."""
    try:
        with path.open("rb") as file:
            header = next(csv.reader([file.readline().decode()]), [])
            first, size, length = file.tell(), file.seek(0, os.SEEK_END), CHUNK
            while True:
                start = max(first, size - length)
                file.seek(start)
                lines = disk.whole_lines(file.read(size - start)).decode(errors="replace").splitlines()
                lines = lines if start == first else lines[1:]  # its beginning may be missing
                last = [line for line in lines if line.split(",", 1)[0] == lines[-1].split(",", 1)[0]]
                if start == first or len(last) < len(lines):
                    return [dict(zip(header, cells, strict=False)) for cells in csv.reader(last)]
                length *= 4
    except FileNotFoundError:
        return []


def of_walkers(rows: Sequence[Row], column: str) -> list[float]:
    """A column of the walkers' rows; what is empty is left out."""
    return [float(row[column]) for row in rows if row["walker"] != "center" and row[column]]


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def figure(rows: Sequence[Row], column: str) -> float | None:
    """That of the center, or the mean over the walkers where there is no center; None where it is empty."""
    for row in rows:
        if row["walker"] == "center":
            return float(row[column]) if row[column] else None
    return mean(of_walkers(rows, column))
