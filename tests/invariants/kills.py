"""Kills of a run in one process, at any write that it makes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import walkers_dist as wd
from walkers_dist.config.errors import INTERRUPTED

PATIENCE = 90.0  # s: the machine may be busy

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")


class Forked:
    """A child of this process that runs an experiment in process, and gets a signal at any write it makes."""

    def __init__(self, run: Path, config: Mapping[str, Any] | None, *rest: Any) -> None:
        context = multiprocessing.get_context("fork")
        self._told, tells = context.Pipe(duplex=False)
        self.process = context.Process(target=self._work, args=(run, config, *rest, tells))
        self.process.start()
        tells.close()

    def _work(self, run: Path, config: Any, overrides: Sequence[str], dies: Any, by: int, tells: Any) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        writes = _Writes(run, dies, by)
        try:
            if config is None:
                wd.resume(run, overrides, report=False)
            else:
                wd.run(config, overrides, run_dir=run, report=False)
        except KeyboardInterrupt:
            os._exit(INTERRUPTED)
        writes.watching = False
        tells.send(writes.made)

    def ends(self) -> list[bytes]:
        """What it wrote, write by write, to the end of the run."""
        assert self._exitcode() == 0, f"exit code {self.process.exitcode}"
        return self._made

    def is_killed(self) -> bool:
        """Whether it was, or was interrupted; else it came to its end."""
        assert self._exitcode() in (0, INTERRUPTED, -signal.SIGKILL), f"exit code {self.process.exitcode}"
        return self.process.exitcode != 0

    def _exitcode(self) -> int | None:
        """Its exit code, after what it tells: that may be more than a pipe holds, so it is read first."""
        with contextlib.suppress(EOFError):  # it was killed
            if self._told.poll(PATIENCE):
                self._made = self._told.recv()
        self.process.join(PATIENCE)
        return self.process.exitcode


class _Writes:
    """Follows, in this process, every change of a file under `run`, and dies at one: before it, or half-way through.

    `dies` is the number of that write, or a function of the file and of what is written to it; `by` is a signal.
    """

    def __init__(self, run: Path, dies: int | Callable[[str, bytes], bool] | None, by: int) -> None:
        self._run, self._dies, self._by, self.watching = str(run), dies, by, True
        self.made: list[bytes] = []
        self._write = os.write
        os.write, os.fsync = self._writes, self._fsyncs
        sys.addaudithook(self._hears)

    def _is_the_last(self, path: str, data: bytes = b"") -> bool:
        if not path.startswith(self._run) or not self.watching:
            return False
        self.made.append(data)
        return self._dies(path, data) if callable(self._dies) else len(self.made) == self._dies

    def _hears(self, event: str, arguments: tuple[Any, ...]) -> None:
        opens = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (opens or event in CHANGES) and self._is_the_last(_name(arguments[0])):
            self._die()

    def _fsyncs(self, fd: int) -> None:
        """Without waiting for the disk: what a killed process has written stays."""
        if self._is_the_last(_name(fd)):
            self._die()

    def _writes(self, fd: int, data: Any) -> int:
        if self._is_the_last(_name(fd), bytes(data)):
            if self._by == signal.SIGKILL:
                self._write(fd, bytes(data)[: len(data) // 2])
            self._die()
        return self._write(fd, data)

    def _die(self) -> None:
        os.kill(os.getpid(), self._by)
        time.sleep(PATIENCE if self._by == signal.SIGKILL else 0.05)  # a thread reads the signal meanwhile


def _name(file: Any) -> str:
    """Of an open file, or a path."""
    return os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else os.fsdecode(file)
