"""The run directory: where a run keeps everything it says, and who owns it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from walkers_dist.config.errors import UserError
from walkers_dist.records import disk

STATUSES = ("running", "paused", "analysing", "done", "interrupted", "failed")


class RunDirectory:
    """Names and small files of one run; the tables, snapshots and checkpoints in it are written elsewhere."""

    def __init__(self, path: Path, made: tuple[Path, ...] = ()) -> None:
        self.path = Path(path)
        self._made = made
        self._lock: int | None = None
        self._owner: dict[str, object] | None = None

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def info(self) -> Path:
        return self.path / "run.json"

    @property
    def control(self) -> Path:
        return self.path / "control"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def snapshots(self) -> Path:
        return self.path / "snapshots"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def analysis(self) -> Path:
        return self.path / "analysis"

    @property
    def error(self) -> Path:
        return self.path / "error.txt"

    def table(self, name: str) -> Path:
        """Where the table `name` lies: `results` -> results.csv."""
        return self.path / f"{name}.csv"

    def write_info(self, info: dict[str, Any]) -> None:
        """Make `info` (anything JSON can hold) the contents of run.json."""
        if info.get("status", "running") not in STATUSES:
            raise ValueError(f"status {info['status']!r} is none of {', '.join(STATUSES)}")
        disk.replace(self.info, json.dumps(info, indent=2, ensure_ascii=False).encode() + b"\n")

    def read_info(self) -> dict[str, Any]:
        """The contents of run.json, empty before it is first written. Raises UserError where it is damaged."""
        try:
            info = json.loads(self.info.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError:
            raise UserError(f"{self.info}: is damaged: not JSON") from None
        if not isinstance(info, dict):
            raise UserError(f"{self.info}: is damaged: not a mapping")
        return info

    def update_info(self, **changes: Any) -> None:
        """Change some entries of run.json; only its owner does that."""
        self.write_info(self.read_info() | changes)

    def claim(self) -> None:
        """Become the owner, until `release` or the end of this process, and write so into run.json.

        Raises UserError while another living process is the owner.
        """
        self.control.mkdir(exist_ok=True)
        lock = os.open(self.control / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise UserError(f"{self.path}: cannot be locked here: {error.strerror}") from None
            owner = self.read_info().get("owner") or {}
            who = f"{owner.get('host', 'an unnamed host')} process {owner.get('pid', 'unknown')}"
            raise UserError(f"{self.path}: in use by {who}: end it first, or take another run directory") from None
        self._lock = lock
        self._owner = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "job": os.environ.get("SLURM_JOB_ID"),
            "start": datetime.now().astimezone().isoformat(),
        }
        self.update_info(owner=self._owner)

    def owns(self) -> bool:
        """Whether run.json still names this claim: a writer it no longer names stops."""
        return self._owner is not None and self.read_info().get("owner") == self._owner

    def is_owned(self) -> bool:
        """Whether a living process of this host is the owner, as its lock says."""
        try:
            lock = os.open(self.control / "owner.lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:  # another user's: who owns it cannot be seen
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(lock)
        return False

    def release(self) -> None:
        """Let another process claim the directory."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = self._owner = None

    def fail(self, text: str) -> bool:
        """Write error.txt unless a process did so before: the first error is the one to read."""
        try:
            with self.error.open("x", encoding="utf-8") as file:
                file.write(text.rstrip("\n") + "\n")
        except FileExistsError:
            return False
        except OSError:  # a full disk may be the very error: it is still told
            pass
        return True

    def remove(self) -> None:
        """Undo `create`: nothing is left of what it made, and nothing is touched that was there before."""
        self.release()
        for entry in self.path.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for directory in self._made:
            with suppress(OSError):  # another run may have come into `runs/` since
                directory.rmdir()


def create(base: Path, name: str, now: datetime, explicit: Path | None = None) -> RunDirectory:
    """Make `base/NAME-YYYYmmdd-HHMMSS`, then `…-2`, `…-3`, never one that another process makes; or `explicit`.

    Raises UserError where `explicit` is a file or not empty, and where nothing can be made.
    """
    stem = f"{name}-{now:%Y%m%d-%H%M%S}"
    last = explicit or base / stem
    try:
        missing = tuple(directory for directory in (last, *last.parents) if not directory.exists())
        last.parent.mkdir(parents=True, exist_ok=True)
        if explicit is not None:
            explicit.mkdir(exist_ok=True)
            if any(explicit.iterdir()):
                raise UserError(f"run directory {explicit}: is not empty: name one that is, or that does not exist")
            return RunDirectory(explicit, missing)
        path = next(path for path in _candidates(base, stem) if _is_made(path))
        return RunDirectory(path, (path, *(directory for directory in missing if directory != last)))
    except OSError as error:
        raise UserError(f"run directory {last}: cannot be made: {error.strerror}") from None


def open(path: str | Path) -> RunDirectory:
    """The run directory at `path`. Raises UserError where there is none."""
    run = RunDirectory(Path(path).expanduser())
    if not run.path.is_dir():
        raise UserError(f"{path}: is not a run directory: there is no such directory")
    if not run.info.is_file():
        raise UserError(f"{path}: is not a run directory: it holds no run.json")
    return run


def _candidates(base: Path, stem: str) -> Iterator[Path]:
    yield base / stem
    yield from (base / f"{stem}-{number}" for number in count(2))


def _is_made(path: Path) -> bool:
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True
