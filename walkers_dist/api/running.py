"""Run an experiment from Python: in this process, or with processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from walkers_dist.api.opened import Run, open_run
from walkers_dist.config import text
from walkers_dist.config.errors import INTERRUPTED, WRONG_INPUT, RunFailed, UserError
from walkers_dist.distributed import local
from walkers_dist.roles.request import Request


def run(
    config: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    run_dir: str | Path | None = None,
    in_process: bool = True,
    report: bool = True,
) -> Run:
    """Run an experiment to its end and open it.

    `config` is a YAML file or a mapping of the same keys, `overrides` are `key.sub=value`. With `in_process=False` it
    has the processes that `walkers run` would start, also from a notebook or a script without a main guard.
    Raises `UserError` where the input is wrong (nothing is left behind), `RunFailed` where the run failed, and
    `KeyboardInterrupt` where it was interrupted (a checkpoint was written).
    """
    with _as_file(config) as path:
        request = Request(str(path), tuple(overrides), str(run_dir) if run_dir else None, report=report)
        return start(request, in_process)


def resume(
    run: str | Path | Run, overrides: Sequence[str] = (), *, in_process: bool = True, report: bool = True
) -> Run:
    """Go on with a run from its last checkpoint, to its end; raises as `run` does."""
    path = run.path if isinstance(run, Run) else run
    return start(Request(overrides=tuple(overrides), resume=str(path), report=report), in_process)


@contextlib.contextmanager
def _as_file(config: str | Path | Mapping[str, Any]) -> Iterator[str | Path]:
    if not isinstance(config, Mapping):
        yield config
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "experiment.yaml"  # the name of an experiment that has none
        try:
            path.write_text(text.write(_plain(config)), encoding="utf-8")
        except yaml.representer.RepresenterError as error:
            raise UserError(f"config: {error.args[-1]!r} is nothing that a configuration can hold") from None
        yield path


def _plain(value: Any) -> Any:
    """Python's own types, as YAML has them: also from numbers and arrays of numpy and torch."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.tolist() if hasattr(value, "tolist") else value


def start(request: Request, in_process: bool) -> Run:
    if in_process:
        from walkers_dist.roles.in_process import run_in_process

        directory, code = run_in_process(request)
        path = str(directory.path)
    else:
        path, code = _with_processes(request)
    if code == INTERRUPTED:
        raise KeyboardInterrupt(f"interrupted; walkers resume {path}")
    if code:
        raise RunFailed(f"the run failed (see {path}/error.txt)" if path else "the run failed before it began")
    return open_run(path)


def _with_processes(request: Request) -> tuple[str, int]:
    """Where the run lies (empty if that was never decided), and its exit code. Raises `UserError`."""
    reading, writing = os.pipe()
    arguments = ["_launch", request.to_json(), str(time.time()), str(writing)]
    with os.fdopen(reading, "rb") as told:
        with local.child(arguments, pass_fds=(writing,)) as process:
            os.close(writing)
            code = local.wait_for(process)
        answer = json.loads(told.read() or '{"run": ""}')  # nothing, if the child was killed
    if code == WRONG_INPUT:
        raise UserError(answer["refused"])
    return answer["run"], code
