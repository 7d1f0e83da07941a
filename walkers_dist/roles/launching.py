"""The ranks of a run on this machine: how many there are, and what is told when one of them dies."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
from pathlib import Path

from walkers_dist.config.changes import is_live
from walkers_dist.config.errors import FAILED, INTERRUPTED, WRONG_INPUT, UserError
from walkers_dist.config.load import load
from walkers_dist.config.merge import split
from walkers_dist.config.schema import Experiment, check_apart
from walkers_dist.distributed import local
from walkers_dist.distributed.plan import processes_for
from walkers_dist.records import run_directory
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.request import Request


def launch(request: Request, started: float, tell: int | None = None) -> int:
    """Start the ranks of a run here and wait for its end; returns the exit code.

    `tell` is a file descriptor for JSON: where the run lies, or why it was refused.
    """
    try:
        ranks = _ranks(request, started)
    except UserError as error:
        local.end_server()
        print(f"walkers: {error}", file=sys.stderr, flush=True)
        _tell(tell, refused=str(error))
        return WRONG_INPUT
    code = ranks.run()
    if code in (FAILED, INTERRUPTED) and ranks.run_path:  # the coordinator may have been killed
        with contextlib.suppress(OSError):  # a full disk
            status = "failed" if code == FAILED else "interrupted"
            RunDirectory(Path(ranks.run_path)).update_info(status=status)
    _tell(tell, run=ranks.run_path, refused=ranks.refused)
    return code


def _tell(descriptor: int | None, run: str = "", refused: str = "") -> None:
    if descriptor is not None:
        os.write(descriptor, json.dumps({"run": run, "refused": refused}).encode())


def _ranks(request: Request, started: float) -> local.Ranks:
    """The ranks that a run has on this machine. Raises `UserError`."""
    experiment = _asked_for(request)
    check_apart(experiment)
    gpus = _gpus() if experiment.device != "cpu" else 0
    processes = processes_for(experiment.walkers, experiment.walkers_per_process, gpus, experiment.device)
    from walkers_dist.roles import rank

    return local.Ranks(
        size=1 + processes + experiment.analysts,
        analysts=experiment.analysts,
        rank=functools.partial(rank.run_rank, request=request, started=started),
        on_death=_on_death,
    )


def _asked_for(request: Request) -> Experiment:
    if request.fork:
        from walkers_dist.roles.forking import forked

        return forked(request).experiment
    if request.replay:
        from walkers_dist.roles.replaying import replayed

        return replayed(request).experiment
    if request.resume is None:
        assert request.config is not None
        return load(request.config, request.overrides)
    experiment = experiment_of(run := run_directory.open(request.resume))
    return experiment_of(run, [word for word in request.overrides if not is_live(experiment, split(word)[0])])


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()  # asks the driver's library: the forkserver must not see CUDA begun


def _on_death(path: str, rank: int, exitcode: int) -> None:
    """Say how a rank left, in `error.txt` if nobody has said more; an analyst is given up."""
    why = f"was ended by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"left with exit code {exitcode}"
    if not path:
        if exitcode < 0:  # else it has said more itself
            print(f"walkers: {'a process' if rank else 'coordinator'} {why} before the run began", file=sys.stderr)
        return
    run = RunDirectory(Path(path))
    seat = run.read_info()["plan"][rank]
    if seat["role"] == "analyst":
        from walkers_dist.roles.analyst import report_state

        report_state(run, seat["number"], "given up")
    elif run.fail(f"{seat['name']} {why}"):
        print(f"walkers: {seat['name']} {why} (see {run.error})", file=sys.stderr, flush=True)
