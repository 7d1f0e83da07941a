"""Writes that a kill cannot tear: a file is replaced whole, a line is appended whole or cut off later."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, data: bytes) -> None:
    """Give the file `path` the contents `data`: whoever reads it sees the old contents or the new ones, never a mix."""
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(temporary, path)
    except OSError:  # a full disk, or a folder of that name: nothing is left beside it
        temporary.unlink(missing_ok=True)
        raise


def temporary_name(path: Path) -> Path:
    """Where the new contents of `path` wait; the same name each time, so what a kill leaves is overwritten."""
    return path.with_name(path.name + ".tmp")


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename the finished (and fsynced) file, and make the new name last."""
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def append(fd: int, data: bytes | memoryview) -> None:
    """Append `data`, by one write unless the system takes only a part of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def whole_lines(data: bytes) -> bytes:
    """`data` without the torn line that a killed writer may have left at its end."""
    return data[: data.rfind(b"\n") + 1]
