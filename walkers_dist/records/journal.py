"""What the analysts have finished: a line a task, with how long its tables were then.

After a kill, rows that no line vouches for are cut off, and tasks whose rows are lost count as not finished.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from walkers_dist.records import disk
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tables import ANALYSED

Task = tuple[int, str]  # step, name
Line = dict[str, Any]


class Journal:
    """The file `analysis/finished.jsonl` of a run; the first analyst alone writes it, or whoever owns the run."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.path = run.analysis / "finished.jsonl"

    def finished(self) -> set[Task]:
        return {(line["step"], line["task"]) for line in self._lines() if "task" in line}

    def note(self, step: int, task: str, lengths: Mapping[str, int]) -> None:
        """Say that a task is finished, its rows all on the disk: its tables are so many bytes long now."""
        self.path.parent.mkdir(exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.ftruncate(fd, len(disk.whole_lines(self.path.read_bytes())))
            disk.append(fd, _encode({"step": step, "task": task, "lengths": dict(lengths)}))
        finally:
            os.close(fd)

    def recover(self) -> None:
        """Bring tables and journal to agree: cut off what was written of a task that did not come to its end."""
        there = self._lengths()
        kept: list[Line] = []
        vouched: dict[str, int] = {}
        for line in (lines := self._lines()):
            if any(length > there.get(name, 0) for name, length in line["lengths"].items()):
                break
            vouched |= line["lengths"]
            kept.append(line)
        if len(kept) < len(lines):
            self._replace(kept)
        for name, length in there.items():
            if length > vouched.get(name, 0) and not any("rewriting" in line for line in kept):
                os.truncate(self.run.table(name), vouched.get(name, 0))

    def begin_again(self, step: int) -> None:
        """Forget what was finished at steps >= `step`; the tables have been cut there already."""
        self._vouch(line for line in self._tasks() if line["step"] < step)

    @contextmanager
    def rewriting(self) -> Iterator[None]:
        """In it the owner of the run may rewrite tables; killed there, they are taken as they are."""
        self._replace([*self._tasks(), {"rewriting": True, "lengths": {}}])
        try:
            yield
        finally:
            self._vouch(self._tasks())

    def _vouch(self, tasks: Iterator[Line]) -> None:
        """For the tables as they are now."""
        lines, lengths = list(tasks), self._lengths()
        if lines or lengths or self.path.exists():
            self._replace([*lines, {"lengths": lengths}])

    def _tasks(self) -> Iterator[Line]:
        return ({**line, "lengths": {}} for line in self._lines() if "task" in line)

    def _lengths(self) -> dict[str, int]:
        paths = {name: self.run.table(name) for name in ANALYSED}
        return {name: path.stat().st_size for name, path in paths.items() if path.exists()}

    def _replace(self, lines: list[Line]) -> None:
        self.path.parent.mkdir(exist_ok=True)
        disk.replace(self.path, b"".join(map(_encode, lines)))

    def _lines(self) -> list[Line]:
        try:
            return [json.loads(line) for line in disk.whole_lines(self.path.read_bytes()).splitlines()]
        except FileNotFoundError:
            return []


def _encode(line: Line) -> bytes:
    return json.dumps(line).encode() + b"\n"
