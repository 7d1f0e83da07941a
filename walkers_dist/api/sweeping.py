"""A grid of runs: its points, each with a run directory of its own, and which of them are still to be run."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from walkers_dist.config import merge
from walkers_dist.config.errors import DONE, FAILED, INTERRUPTED, UserError
from walkers_dist.config.load import load
from walkers_dist.config.schema import Experiment
from walkers_dist.distributed import local
from walkers_dist.distributed.signals import stop_signals
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.request import Request

POLL = 0.1  # s
LONGEST = 200  # bytes of a folder's name
PLACEMENT = {"threads", "device", "walkers_per_process", "analysts", "exchange", "checkpoint", "control", "at_end"}
"""What may differ from the run that is there already: it says where and how, not what."""


@dataclass(frozen=True, eq=False)  # each is itself: a schedule has no hash
class Point:
    """One run of the grid: `name` is the varied keys with their values here, and that of its folder."""

    name: str
    config: str
    overrides: tuple[str, ...]
    experiment: Experiment
    path: Path

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.path)

    def status(self) -> str:
        """That of its run, or `missing`."""
        return str(self.run.read_info().get("status", "missing"))

    def request(self, report: bool) -> Request:
        """To begin it, or to go on with it."""
        if self.run.info.exists():
            return Request(resume=str(self.path), report=report)
        return Request(self.config, self.overrides, str(self.path), report=report)

    def check(self) -> None:
        """Raise `UserError` where its folder holds the run of another configuration."""
        if not self.run.info.exists():
            return
        mine, there = (_flat(e.model_dump(exclude=PLACEMENT)) for e in (self.experiment, experiment_of(self.run)))
        for key in sorted(mine.keys() | there.keys()):
            if mine.get(key) != there.get(key):
                raise UserError(
                    f"{self.path}: holds a run with {key} = {there.get(key)}, and not {mine.get(key)}: "
                    "name another folder by --out"
                )


def _flat(keys: Any, at: str = "") -> dict[str, Any]:
    if not isinstance(keys, dict):
        return {at: keys}
    return {k: v for key, inner in keys.items() for k, v in _flat(inner, f"{at}.{key}" if at else key).items()}


def grid(config: str, words: Sequence[str], out: Path | None = None) -> list[Point]:
    """The points, the last key varying fastest. Each word is `key=value`, or `key=value,value,…` to vary it.

    Raises `UserError` where a word or any point is wrong, or a folder holds another run.
    """
    axes = [_axis(word) for word in words]
    varied = [key for key, values in axes if len(values) > 1]
    if not varied:
        raise UserError("nothing is varied: give at least one key several values, as key=a,b,c")
    points = []
    for values in itertools.product(*(values for _, values in axes)):
        at = dict(zip((key for key, _ in axes), values, strict=True))
        overrides = tuple(f"{key}={value}" for key, value in at.items())
        experiment = load(config, overrides)
        folder = out or Path("runs") / f"{load(config).name}-sweep"
        name = folder_name({key: at[key] for key in varied})
        points.append(Point(name, config, overrides, experiment, (folder / name).absolute()))
    for point in points:
        point.check()
    return points


def _axis(word: str) -> tuple[str, list[str]]:
    key, equals, text = word.partition("=")
    values = split_values(text)
    if "" in values and len(values) > 1:
        raise UserError(f"{word}: a value is missing between commas")
    for value in values:
        merge.split(f"{key}{equals}{value}")
    if len(set(values)) < len(values):
        raise UserError(f"{word}: must give each value once")
    return key, values


def split_values(text: str) -> list[str]:
    """The texts between commas, but for commas within brackets or quotes: `[1,2],[3]` are two."""
    values, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        depth += (character in "[{") - (character in "]}") if not quote else 0
        if character == "," and not quote and not depth:
            values.append("")
        else:
            values[-1] += character
    return [value.strip() for value in values]


def folder_name(values: dict[str, str]) -> str:
    """`key=value,key=value`; where a folder cannot be called so, a part of it and a digest."""
    whole = ",".join(f"{key}={value}" for key, value in values.items())
    name = "".join(c if c.isprintable() and c != "/" else "_" for c in whole)
    if name == whole and len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{name.encode()[: LONGEST - 9].decode(errors='ignore')}-{digest}"


# ---- here -----------------------------------------------------------------------------------------------------


def run_points(
    points: Sequence[Point], jobs: int, report: bool, in_process: bool, tell: Callable[[Point, str], None]
) -> int:
    """Run those that are not done, so many at a time; a failed one does not stop the others.

    `in_process`: all walkers of a run in one process.

    `tell(point, what)`: that it begins, and how it ended. Returns the exit code of the sweep: 0 when all are done.
    """
    waiting = [point for point in points if point.status() != "done"]
    running: dict[Point, subprocess.Popen[bytes]] = {}
    failed, told, deadline = False, False, inf
    with contextlib.ExitStack() as stack, stop_signals() as signals:
        while running or (waiting and not signals.name):
            while waiting and len(running) < jobs and not signals.name:
                point = waiting.pop(0)
                tell(point, "goes on" if point.run.info.exists() else "begins")
                running[point] = stack.enter_context(_started(point, report, in_process))
            if signals.name and not told:
                told = True
                _send(running, signals.number)
            if signals.at_once and deadline == inf:
                deadline = time.monotonic() + local.AT_ONCE
                _send(running, signal.SIGINT)
            time.sleep(POLL)
            for point, process in list(running.items()):
                if time.monotonic() > deadline and process.poll() is None:
                    process.kill()
                if process.poll() is not None:
                    del running[point]
                    failed |= process.returncode != DONE
                    tell(point, _ended(point, process.returncode))
    return INTERRUPTED if signals.name else FAILED if failed else DONE


@contextlib.contextmanager
def _started(point: Point, report: bool, in_process: bool) -> Iterator[subprocess.Popen[bytes]]:
    log = log_of(point)
    log.parent.mkdir(parents=True, exist_ok=True)
    request = point.request(report)
    arguments = ["_launch", request.to_json(), str(time.time())]
    if in_process:
        begun = ["run", str(request.config), *request.overrides, "--run-dir", str(request.run_dir)]
        arguments = ["resume", str(request.resume)] if request.resume else begun
        arguments += ["--in-process", *([] if report else ["--no-report"])]
    with log.open("wb") as file, local.child(arguments, stdin=subprocess.DEVNULL, stdout=file, stderr=file) as process:
        yield process


def log_of(point: Point) -> Path:
    """What its run says."""
    return point.path.parent / ".logs" / f"{point.name}.log"


def _ended(point: Point, code: int) -> str:
    if code == DONE:
        return "is done"
    if code == INTERRUPTED:
        return "was interrupted"
    said = log_of(point).read_text(encoding="utf-8", errors="replace").splitlines()
    why = next((line.removeprefix("walkers: ") for line in reversed(said) if line.startswith("walkers: ")), "")
    return f"failed: {why or f'see {log_of(point)}'}"


def _send(running: dict[Point, subprocess.Popen[bytes]], number: int) -> None:
    for process in running.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
