"""A run in processes of its own, which bear a mark so that they can be found, and killed for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
MARK = "WALKERS_TEST_FAMILY"
PATIENCE = 90.0  # s: a busy machine may take long to start six processes


def until(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Wait until the condition holds; its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.005)
    return value


def _file_of(pid: int, name: str) -> bytes:
    """What the system says of a process; nothing where it has just ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _parent(pid: int) -> int:
    return int((_file_of(pid, "stat").rpartition(b") ")[2].split() or [b"0", b"0"])[1])


class Walkers:
    """A `walkers …` command that is running, or has ended, about the run directory `run`."""

    def __init__(self, run: Path, *words: object) -> None:
        self.run, self.mark = run, uuid.uuid4().hex
        self.log = run.with_name(f"{run.name}-{self.mark[:6]}.txt")
        command = [sys.executable, "-m", "walkers_dist", *map(str, words), "--no-report"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1", MARK: self.mark},
                start_new_session=True,
            )

    def family(self) -> list[int]:
        """The living processes of this command."""
        numbers = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
        return [pid for pid in numbers if self.mark.encode() in _file_of(pid, "environ")]

    def pid(self, name: str, seconds: float = PATIENCE) -> int:
        """The process called `coordinator`, `walkers 0-1`, `analyst 0`: the one that writes that log."""
        log = f"logs/{name.replace(' ', '-')}.log"

        def find() -> int:
            for pid in self.family():
                try:
                    if os.readlink(f"/proc/{pid}/fd/2").endswith(log):
                        return pid
                except OSError:
                    continue
            return 0

        return until(find, f"the process {name}\n{self.said}", seconds)

    def ranks(self) -> list[int]:
        """The living ranks, in their order: what the forkserver has forked."""
        return sorted(pid for pid in self.family() if b"forkserver" in _file_of(_parent(pid), "cmdline"))

    def kill(self, name: str = "all") -> None:
        """`kill -9` of one process, of the `launcher` that the user sees, or of `all` at once."""
        victims = {"launcher": lambda: [self.process.pid], "all": self.family}.get(name, lambda: [self.pid(name)])
        for pid in victims():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    @property
    def status(self) -> str:
        try:
            return json.loads((self.run / "run.json").read_bytes()).get("status", "")
        except FileNotFoundError:
            return ""

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code, once no process of the family is alive."""
        until(lambda: self.process.poll() is not None, f"the end\n{self.said}", seconds)
        until(lambda: not self.family(), "the end of every process", 20.0)
        return self.process.returncode

    def end(self) -> None:
        self.kill()
        self.process.wait()


@contextmanager
def commands(kind: type[Walkers] = Walkers) -> Iterator[Callable[..., Any]]:
    """`start(run, config, words)` starts a run there, `start(run)` resumes it; all are ended with the context."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("finds processes through /proc, which this system does not have")
    started: list[Walkers] = []

    def start(run: Path, config: Mapping[str, Any] | None = None, *words: str) -> Walkers:
        if config is None:
            command: list[object] = ["resume", run]
        else:
            (file := run.with_suffix(".yaml")).write_text(json.dumps(config), encoding="utf-8")
            command = ["run", file, "--run-dir", run]
        started.append(kind(run, *command, *words))
        return started[-1]

    yield start
    for one in started:
        one.end()
