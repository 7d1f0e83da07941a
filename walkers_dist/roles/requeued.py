"""A job of SLURM that takes its turn again goes on in the run directory that it began.

`.jobs/JOB-HASH` beside that directory holds its path: JOB is the job's number, HASH is of the configuration.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from walkers_dist.config.load import dump, load
from walkers_dist.config.schema import Experiment
from walkers_dist.records import disk
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.request import Request


def followed(request: Request) -> Request:
    """The same request, or that to resume the run which this job began before it was requeued, unless that is done.

    Raises `UserError` where the configuration is wrong.
    """
    if not _int(os.environ.get("SLURM_RESTART_COUNT")) or request.config is None:
        return request
    pointer = _pointer(load(request.config, request.overrides), request.run_dir)
    if pointer is None or not pointer.is_file():
        return request
    run = RunDirectory(Path(os.fsdecode(pointer.read_bytes())))
    if not run.info.is_file() or run.read_info().get("status") == "done":
        return request
    return replace(request, config=None, overrides=(), run_dir=None, resume=str(run.path), paused=False)


def remember(run: RunDirectory, experiment: Experiment, run_dir: str | None) -> None:
    """Leave word where the run of this job lies; without a job, nothing."""
    if pointer := _pointer(experiment, run_dir):
        pointer.parent.mkdir(exist_ok=True)
        disk.replace(pointer, os.fsencode(run.path))


def _pointer(experiment: Experiment, run_dir: str | None) -> Path | None:
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return None
    place = Path(run_dir).expanduser().absolute() if run_dir else Path("runs").absolute() / experiment.name
    named = dump(experiment) if run_dir is None else f"{dump(experiment)}\n{place}"
    return place.parent / ".jobs" / f"{job}-{hashlib.sha256(named.encode()).hexdigest()[:12]}"


def _int(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
