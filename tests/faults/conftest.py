"""Real commands and the processes they leave: each is started in a session of its own, and its family bears a mark."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

MARK = "WALKERS_TEST_FAMILY"
PATIENCE = 90.0  # s: a busy machine may take long to start six processes
BOWLS = '''
"""A bowl whose gradients take their time, and whose loss fails where it is told to."""

import time

from walkers_dist import Landscape


class Bowl(Landscape):
    def __init__(self, *, seed, dtype, device, pause=0.0, fails_in=None, at=0):
        self.size, self.pause, self.fails_in, self.at, self.now = 5, pause, fails_in, at, 0

    def minibatches(self, walkers, batch_size):
        exact = super().minibatches(walkers, batch_size)

        def gradient(X, t):
            time.sleep(self.pause)
            self.now = t
            return exact(X, t)

        return gradient

    def loss(self, theta, *, split="train", walkers=None):
        if walkers and self.fails_in in walkers and self.now >= self.at:
            raise ArithmeticError(f"{self.fails_in} has lost its way")
        return theta.square().sum(1) / 2
'''
SLOW = """
landscape: {kind: "bowls:Bowl", pause: 0.01}
walkers: 2
analysts: 0
steps: 100000
log: {every: 5}
control: {every: 5}
snapshots: {every: 20}
checkpoint: {every: 20}
"""
QUICK = """
landscape: {kind: quadratic, dim: 5, noise: 0.1}
walkers: 2
steps: 100
log: {every: 5}
"""


class Command:
    """A command that is running, or has ended, in `folder`."""

    def __init__(self, words: Sequence[str], folder: Path, environment: dict[str, str], **keywords: Any) -> None:
        self.mark = uuid.uuid4().hex
        self.folder, self._out, self._err = folder, folder / f"{self.mark}.out", folder / f"{self.mark}.err"
        known = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
        environment = {**known, "OMP_NUM_THREADS": "1", **environment, MARK: self.mark}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            keywords = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err, **keywords}
            self.process = subprocess.Popen(
                list(words), cwd=folder, env=environment, start_new_session=True, **keywords
            )

    # ---- what it says -----------------------------------------------------------------------------------------

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8")

    @property
    def run(self) -> Path:
        """The one run directory it made in `runs/`."""
        (path,) = self.folder.glob("runs/*")
        return path

    def status(self) -> str:
        return json.loads((self.run / "run.json").read_text())["status"]

    def rows(self, table: str = "results") -> list[dict[str, str]]:
        """The rows of a table read without any mercy: every line must be whole."""
        path = self.run / f"{table}.csv"
        header, *lines = path.read_text().split("\n")
        assert lines and lines[-1] == "", f"{path} ends in the middle of a line"
        columns = header.split(",")
        cells = [line.split(",") for line in lines[:-1]]
        assert all(len(row) == len(columns) for row in cells), f"{path} holds a broken row"
        return [dict(zip(columns, row, strict=True)) for row in cells]

    def last_checkpoint(self) -> int:
        """The step of its newest checkpoint, verified."""
        from walkers_dist.records.checkpoints import newest_checkpoint
        from walkers_dist.records.run_directory import RunDirectory

        checkpoint = newest_checkpoint(RunDirectory(self.run))
        assert checkpoint is not None and not checkpoint.passed_over
        return checkpoint.step

    # ---- its processes ----------------------------------------------------------------------------------------

    def family(self) -> dict[int, list[str]]:
        """Number -> words of the command line of every living process that descends from it."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                alive = ") Z " not in (folder / "stat").read_text()
                if alive and self.mark.encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_text().rstrip("\0").split("\0")
            except OSError:  # it has just ended
                continue
        return found

    def with_word(self, word: str) -> int:
        """The process with this word in its command line, once there is one."""
        return self.until(lambda: next((pid for pid, words in self.family().items() if word in words), 0), word)

    def playing(self, name: str) -> int:
        """The process of that name (`coordinator`, `walkers 0`), once there is one: it writes that log."""
        log = f"logs/{name.replace(' ', '-')}.log"

        def find() -> int:
            for pid, words in self.family().items():
                try:
                    if os.readlink(f"/proc/{pid}/fd/2").endswith(log) and "_analyst" not in words:
                        return pid
                except OSError:
                    continue
            return 0

        return self.until(find, name)

    # ---- waiting ----------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        """Wait until the condition holds; its value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}; {self._state()}"
            time.sleep(0.02)
        return value

    def at_step(self, step: int) -> None:
        """Wait until results.csv holds rows of that step or of a later one."""

        def reached() -> bool:
            assert self.process.poll() is None, f"it has ended: {self._state()}"
            tables = [*self.folder.glob("runs/*/results.csv")]
            return bool(tables) and any(
                line.split(b",")[0].isdigit() and int(line.split(b",")[0]) >= step
                for line in tables[0].read_bytes().splitlines()
            )

        self.until(reached, f"step {step}")

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; its exit code."""
        self.until(lambda: self.process.poll() is not None, "its end", seconds)
        return self.process.returncode

    def leaves_nothing(self, seconds: float = 5.0) -> bool:
        """Whether none of its processes is alive any more, within so many seconds."""
        self.until(lambda: not self.family(), "no process left", seconds)
        return True

    def _state(self) -> str:
        return f"alive: {self.family()}\n{self.out}\n{self.err}"

    def end(self) -> None:
        self.process.kill()
        while left := self.family():
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self.process.wait()


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """`command(words, folder=, environment=, **Popen's keywords)`; whatever is alive at the end is killed."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("finds processes through /proc, which this system does not have")
    started: list[Command] = []

    def start(words: Sequence[object], folder: Path = tmp_path, environment: Any = None, **keywords: Any) -> Command:
        started.append(Command([str(word) for word in words], folder, environment or {}, **keywords))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def walkers(command: Callable[..., Command]) -> Callable[..., Command]:
    """`walkers WORDS`."""
    return lambda *words, **keywords: command([sys.executable, "-m", "walkers_dist", *words], **keywords)


@pytest.fixture
def torchrun(command: Callable[..., Command]) -> Callable[..., Command]:
    """`torchrun -m walkers_dist WORDS` with so many ranks, on this machine alone."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]

    def start(ranks: int, *words: object, **keywords: Any) -> Command:
        return command([*launcher, f"--nproc-per-node={ranks}", "-m", "walkers_dist", *words], **keywords)

    return start


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """An experiment that goes on and on: 2 walkers in processes of their own, 100 steps a second at most."""
    (tmp_path / "bowls.py").write_text(BOWLS)
    (tmp_path / "slow.yaml").write_text(SLOW)
    return tmp_path / "slow.yaml"


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """An experiment of a fraction of a second, its start left out."""
    (tmp_path / "quick.yaml").write_text(QUICK)
    return tmp_path / "quick.yaml"
