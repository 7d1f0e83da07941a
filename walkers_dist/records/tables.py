"""The tables of a run: plain CSV, one writer each, blocks of rows that are whole or absent, also after a kill."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import SupportsFloat, cast

from walkers_dist.config.errors import RunFailed, UserError
from walkers_dist.records import disk

FIGURES = (
    *("train_loss", "train_grad_norm", "train_accuracy"),
    *("test_loss", "test_grad_norm", "test_accuracy"),
)
VALUES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
COLUMNS: dict[str, tuple[str, ...]] = {
    "results": ("step", "epoch", "walker", "lr", "norm", *FIGURES, "elapsed"),
    "distances": ("step", "a", "b", "distance", "cosine"),
    "interpolations": ("step", "a", "b", "path", "t", "norm", *FIGURES),
    "planes": ("step", "plane", "u", "v", *VALUES),
    "plane_points": ("step", "plane", "walker", "u", "v", "distance", "train_loss"),
    "explorations": ("step", "walk", "walker", "move", "threshold", "step_size", "norm", *VALUES),
    "sharpness": ("step", "walker", "formula", "epsilon", "moves", "distance", "train_sharpness", "test_sharpness"),
    "averages": ("step", "kind", "members", *VALUES, "disagreement"),
    "eigenvalues": ("step", "walker", "matrix", "side", "rank", "eigenvalue", "residual"),
    "density": ("step", "walker", "matrix", "probe", "node", "weight"),
    "curvature": ("step", "walker", "matrix", "quantity", "value", "error"),
    "events": ("step", "time", "source", "key", "old", "new"),
}

ANALYSED = (
    *("interpolations", "planes", "plane_points", "explorations", "sharpness", "averages"),
    *("eigenvalues", "density", "curvature"),
)
"""Those that an analyst writes, from snapshots."""
BLOCKS = {
    "interpolations": ("step", "path"),
    "planes": ("step", "plane"),
    "plane_points": ("step", "plane"),
    "sharpness": ("step", "formula", "epsilon"),
    "eigenvalues": ("step", "walker", "matrix", "side"),
    "density": ("step", "walker", "matrix"),
    "curvature": ("step", "walker", "matrix", "quantity"),
}
"""The columns that tell one measurement from another in a table; elsewhere it is the step alone."""
MATRICES, SIDES = ("hessian", "ggn", "residual"), ("top", "bottom", "full")
"""In the order of their rows."""


class Table:
    """A table that this process alone writes.

    Floats are written with `digits` significant digits: 9 keep every bit of a float32, 17 of a float64.
    Opening makes the file with its header, or cuts the torn line that a kill left.
    Raises UserError where the file at `path` is another table or cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str], digits: int = 17) -> None:
        self.path = Path(path)
        self.columns = tuple(columns)
        self._digits = digits
        self._open()

    def append(self, rows: Sequence[Sequence[object]]) -> None:
        """Append the whole block in one write; None is an empty cell, a line break in a text becomes a space.

        Raises RunFailed, and leaves the table as it was, where the disk does not take it.
        """
        if any(len(row) != len(self.columns) for row in rows):
            raise ValueError(f"{self.path.name}: a row needs {len(self.columns)} values")
        before = self.position()
        try:
            disk.append(self._fd, self._encode(rows))
        except OSError as error:
            os.ftruncate(self._fd, before)  # a full disk takes half a block
            raise RunFailed(f"{self.path}: cannot be written: {error.strerror}") from error

    def sync(self) -> None:
        """Return when everything appended is on the disk: a kill needs no such care, a power cut does."""
        os.fsync(self._fd)

    def position(self) -> int:
        """The length of the table in bytes."""
        return os.fstat(self._fd).st_size

    def truncate(self, step: int) -> None:
        """Drop every row with a step >= `step`."""
        column = self.columns.index("step")
        self._keep(lambda rows: [int(row[column]) < step for row in rows])

    def rewrite(self, rows: Sequence[Sequence[object]]) -> None:
        """Make these the rows of the table, whatever it held; a reader sees the old ones or the new ones.

        Raises RunFailed, and leaves the table as it was, where the disk does not take it.
        """
        try:
            self._replace(self._encode([self.columns, *rows]))
        except OSError as error:
            raise RunFailed(f"{self.path}: cannot be written: {error.strerror}") from error

    def merge(self, rows: Sequence[Sequence[object]], keys: Sequence[str]) -> None:
        """Put `rows` in their order (`place`), in the place of those that agree with one of them in `keys`."""
        columns = [self.columns.index(key) for key in keys]
        new = self._encode(rows).splitlines(keepends=True)
        header, *old = disk.whole_lines(self.path.read_bytes()).splitlines(keepends=True)
        replaced = {tuple(cells[column] for column in columns) for cells in map(_cells, new)}
        kept = [line for line in old if tuple(_cells(line)[column] for column in columns) not in replaced]
        ordered = sorted([*kept, *new], key=lambda line: place(dict(zip(self.columns, _cells(line), strict=True))))
        self._replace(header + b"".join(ordered))

    def close(self) -> None:
        os.close(self._fd)

    def _open(self) -> None:
        header = self._encode([self.columns])
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from None
        found = self.path.read_bytes()
        if found[: len(header)] != header[: len(found)]:
            os.close(self._fd)
            raise UserError(f"{self.path}: is not a table with the columns {', '.join(self.columns)}")
        whole = disk.whole_lines(found)
        os.ftruncate(self._fd, len(whole))
        if not whole:
            disk.append(self._fd, header)

    def _keep(self, keep: Callable[[list[list[str]]], list[bool]]) -> None:
        """Rewrite the table with the rows that `keep` says yes to; their text stays as it is."""
        header, *lines = disk.whole_lines(self.path.read_bytes()).splitlines(keepends=True)
        kept = keep([_cells(line) for line in lines])
        if not all(kept):
            self._replace(header + b"".join(line for line, stays in zip(lines, kept, strict=True) if stays))

    def _replace(self, contents: bytes) -> None:
        disk.replace(self.path, contents)
        os.close(self._fd)
        self._open()

    def _encode(self, rows: Sequence[Sequence[object]]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self._cell(value) for value in row] for row in rows)
        return text.getvalue().encode()

    def _cell(self, value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, str):
            return " ".join(value.splitlines())
        if isinstance(value, Integral):
            return str(int(value))
        return f"{float(cast(SupportsFloat, value)):.{self._digits}g}"


def place(row: Mapping[str, str]) -> tuple[object, ...]:
    """Where a row stands among others of its table: by its step; one of a matrix by point, matrix and side too.

    Rows of equal places stay as they come. Overlaps stand after all else of a step: they need all points' vectors.
    """
    step = int(row["step"])
    if "matrix" not in row:
        return (step,)
    point, matrix = point_order(row["walker"]), MATRICES.index(row["matrix"])
    if "overlap" in (quantity := row.get("quantity", "")):
        what, _, last = quantity.rpartition(" ")
        return step, 1, matrix, point, ("gradient", "overlap", "overlap with").index(what), point_order(last)
    return step, 0, point, matrix, SIDES.index(row["side"]) if "side" in row else 0


def point_order(name: str) -> tuple[bool, int, str]:
    """The center first, then w0, w1, … w10."""
    return name != "center", len(name), name


def _cells(line: bytes) -> list[str]:
    return next(csv.reader([line.decode()]))


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table, as texts, without a line that is being written; none where there is no file yet."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return []
    return list(csv.DictReader(io.StringIO(disk.whole_lines(data).decode())))


def merge_rows(path: Path, name: str, rows: Sequence[Sequence[object]]) -> None:
    """Put a late measurement into the table `name`, in the order of `place`, for an equal one made before.

    The file is replaced whole, or not at all. The caller owns the run.
    """
    table = Table(path, COLUMNS[name])
    table.merge(rows, BLOCKS.get(name, ("step",)))
    table.close()
