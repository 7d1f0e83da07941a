"""The runs in a folder, a line each: how they stand, and their last figures. Loads neither torch nor pandas."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from walkers_dist.api.columns import aligned
from walkers_dist.api.last_rows import figure, last_rows
from walkers_dist.config import text
from walkers_dist.config.errors import UserError
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tables import read_rows

OWNED = ("running", "paused", "analysing")
HEADER = ("run", "status", "step", "walkers", "train_loss", "test_accuracy", "started", "elapsed")


@dataclass(frozen=True)
class Line:
    """One run; `wrong` says why it cannot be read, in place of all that could be said of it."""

    run: str
    status: str = "broken"
    step: int | None = None
    steps: int | None = None
    walkers: int | None = None
    train_loss: float | None = None
    """Of the center, or the mean over the walkers where there is none; as `test_accuracy`."""
    test_accuracy: float | None = None
    started: datetime | None = None
    elapsed: float | None = None
    """Seconds of stepping."""
    wrong: str = ""

    def cells(self) -> list[str]:
        return [
            *(self.run, self.status),
            f"{_or(self.step, '-')}/{_or(self.steps, '-')}",
            _or(self.walkers, "-"),
            _number(self.train_loss, ".4g"),
            _number(self.test_accuracy, ".4f"),
            f"{self.started:%Y-%m-%d %H:%M:%S}" if self.started else "-",
            _duration(self.elapsed),
        ]


def list_runs(folder: str | Path) -> list[Line]:
    """The runs in `folder`, in the order in which they were started; those that cannot be read come last.

    Raises UserError where there is no such folder.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"{folder}: is no folder of runs: there is no such directory")
    found = [_line(RunDirectory(path)) for path in sorted(root.iterdir()) if _is_meant_as_run(path)]
    return sorted(found, key=lambda line: (line.started is None, line.started and line.started.timestamp(), line.run))


def table(lines: list[Line]) -> str:
    whole = [line for line in lines if not line.wrong]
    parts = [aligned(HEADER, [line.cells() for line in whole])] if whole else []
    return "\n".join([*parts, *(f"{line.run}  {line.status}: {line.wrong}" for line in lines if line.wrong)])


def _is_meant_as_run(path: Path) -> bool:
    return path.is_dir() and any((path / name).exists() for name in ("run.json", "config.yaml", "results.csv"))


def _line(run: RunDirectory) -> Line:
    try:
        if not run.info.is_file():
            raise UserError("holds no run.json")
        info, keys, rows = run.read_info(), text.read(run.config), last_rows(run.table("results"))
        return Line(
            run=run.path.name,
            status="lost" if is_lost(run, info) else str(info.get("status", "unknown")),
            step=int(rows[0]["step"]) if rows else None,
            steps=steps_of(run, keys),
            walkers=int(keys["walkers"]),
            train_loss=figure(rows, "train_loss"),
            test_accuracy=figure(rows, "test_accuracy"),
            started=_started(info),
            elapsed=float(rows[0]["elapsed"]) if rows else None,
        )
    except (UserError, OSError) as error:
        return Line(run.path.name, wrong=str(error).removeprefix(f"{run.path}{os.sep}"))
    except (KeyError, ValueError, TypeError, AttributeError) as error:  # files of another program, or half a file
        return Line(run.path.name, wrong=f"is damaged: {type(error).__name__}: {error}")


def is_lost(run: RunDirectory, info: Mapping[str, Any]) -> bool:
    """Whether a run that says it goes on has no owner any more: one on this host would hold its lock."""
    owner = info.get("owner") or {}
    if info.get("status") not in OWNED or owner.get("host") != socket.gethostname():
        return False
    return not run.is_owned()


def steps_of(run: RunDirectory, keys: Mapping[str, Any]) -> int:
    """As changed while it ran."""
    changes = [row["new"] for row in read_rows(run.table("events")) if row["key"] == "steps"]
    return int(json.loads(changes[-1]) if changes else keys["steps"])


def _started(info: Mapping[str, Any]) -> datetime | None:
    words = info.get("started") or (info.get("owner") or {}).get("start")
    return datetime.fromisoformat(words) if words else None


def _or(value: object, otherwise: str) -> str:
    return otherwise if value is None else str(value)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _duration(seconds: float | None) -> str:
    """`h:mm:ss`, or seconds below a minute."""
    if seconds is None:
        return "-"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, s = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{s:02d}"
