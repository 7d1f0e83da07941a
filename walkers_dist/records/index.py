"""Which snapshots and checkpoints are complete: a line a step, naming its files, their digests and their walkers.

Readers follow the index and open it afresh at each look; what it does not name does not exist yet.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from walkers_dist.config.errors import UserError
from walkers_dist.records import disk
from walkers_dist.records.files import Digest, verify


@dataclass(frozen=True)
class Part:
    """What one process wrote of a step: the digest its file must have, and the walkers in it."""

    digest: Digest
    walkers: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A complete step: file name in the folder of the step -> part; `last`: the run ended with this step."""

    step: int
    parts: Mapping[str, Part]
    last: bool = False

    @property
    def names(self) -> list[str]:
        """Who is in it, the center included."""
        return [walker for part in self.parts.values() for walker in part.walkers]

    def verify(self, folder: Path) -> None:
        """Raise UserError where a part of it in `folder` is missing or damaged."""
        for file, part in self.parts.items():
            verify(folder / file, part.digest)

    def files_of(self, walkers: Iterable[str]) -> dict[str, list[str]]:
        """File name -> which of `walkers` are in it. Raises UserError for a walker that is in none."""
        home = {walker: file for file, part in self.parts.items() for walker in part.walkers}
        files: dict[str, list[str]] = {}
        for walker in walkers:
            if walker not in home:
                raise UserError(f"no walker {walker} at step {self.step}: there are {', '.join(home)}")
            files.setdefault(home[walker], []).append(walker)
        return files

    def to_line(self) -> bytes:
        files = {
            file: {"sha256": part.digest.sha256, "size": part.digest.size, "walkers": part.walkers}
            for file, part in self.parts.items()
        }
        return json.dumps({"step": self.step, "files": files, "last": self.last}).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Entry:
        entry = json.loads(line)
        parts = {
            file: Part(Digest(part["sha256"], part["size"]), tuple(part["walkers"]))
            for file, part in entry["files"].items()
        }
        return cls(entry["step"], parts, entry["last"])


class Index:
    """The list of complete steps in the file `path`; one process writes it, all may read it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """What is complete now, in the order it was completed. Raises UserError where a whole line is damaged."""
        return [self._parse(number, line) for number, line in enumerate(self._lines(), start=1)]

    def at(self, step: int) -> Entry:
        """The entry of `step`. Raises UserError where it is not complete."""
        lines = self._lines()
        for number, line in enumerate(lines, start=1):
            if line.startswith(b'{"step": %d,' % step):  # a line is long where there are many walkers
                return self._parse(number, line)
        steps = ", ".join(str(entry.step) for entry in self.entries())
        raise UserError(f"{self.path.parent}: no step {step}: there are {steps or 'none'}")

    def append(self, entry: Entry) -> None:
        """Add a line in one write and return when it is on the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = len(b"".join(self._lines()))
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.ftruncate(fd, whole)
            disk.append(fd, entry.to_line())
            os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, entries: Iterable[Entry]) -> None:
        """Make these the complete steps."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        disk.replace(self.path, b"".join(entry.to_line() for entry in entries))

    def truncate(self, step: int) -> None:
        """Drop every step >= `step`; the files stay until they are written again."""
        entries = self.entries()
        kept = [entry for entry in entries if entry.step < step]
        if len(kept) < len(entries):
            self.replace(kept)

    def _lines(self) -> list[bytes]:
        try:
            return disk.whole_lines(self.path.read_bytes()).splitlines(keepends=True)
        except FileNotFoundError:
            return []

    def _parse(self, number: int, line: bytes) -> Entry:
        try:
            return Entry.from_line(line)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{self.path}: line {number} is damaged") from None


def step_folder(root: Path, step: int) -> Path:
    """Where the parts of a step lie."""
    return root / f"step-{step:08d}"


def step_of(folder: Path) -> int:
    """The step whose parts lie in `folder`."""
    return int(folder.name.removeprefix("step-"))


def part_name(process: str) -> str:
    """The file of a process: `walkers 0-3` -> `walkers-0-3.safetensors`."""
    return process.replace(" ", "-") + ".safetensors"
