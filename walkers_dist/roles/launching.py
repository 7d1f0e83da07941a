"""The ranks of a run on this machine: how many there are, and what is told when one of them dies."""

from __future__ import annotations

import functools
import os
import signal
import sys
from pathlib import Path

from walkers_dist.config.changes import is_live
from walkers_dist.config.load import load
from walkers_dist.config.merge import split
from walkers_dist.config.schema import Experiment
from walkers_dist.distributed import local
from walkers_dist.distributed.plan import Plan, processes_for
from walkers_dist.records import run_directory
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.request import Request


def launch(request: Request, started: float, tell: int | None = None) -> int:
    """Start the ranks of a run here and wait for its end; returns the exit code. Raises `UserError`.

    `tell` is a file descriptor that the path of the run directory is written to.
    """
    experiment = _asked_for(request)
    gpus = _gpus() if experiment.device != "cpu" else 0
    processes = processes_for(experiment.walkers, experiment.walkers_per_process, gpus, experiment.device)
    from walkers_dist.roles import rank

    ranks = local.Ranks(
        size=1 + processes + experiment.analysts,
        analysts=experiment.analysts,
        rank=functools.partial(rank.run_rank, request=request, started=started),
        analyst_again=rank.start_analyst_again,
        on_death=_on_death,
        key=rank.RUN_KEY,
    )
    code = ranks.run()
    if tell is not None:
        os.write(tell, ranks.run_path.encode())
    return code


def _asked_for(request: Request) -> Experiment:
    if request.resume is None:
        assert request.config is not None
        return load(request.config, request.overrides)
    experiment = experiment_of(run := run_directory.open(request.resume))
    return experiment_of(run, [word for word in request.overrides if not is_live(experiment, split(word)[0])])


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()  # asks the driver's library: the forkserver must not see CUDA begun


def _on_death(path: str, rank: int, exitcode: int) -> None:
    """A rank did not leave by itself: say so in `error.txt` if nobody has said more, and close the run's books."""
    if not path:
        return
    run = RunDirectory(Path(path))
    info = run.read_info()
    name = Plan.from_json([{k: v for k, v in seat.items() if k != "name"} for seat in info["plan"]]).seats[rank].name
    why = f"was ended by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"left with exit code {exitcode}"
    if info["plan"][rank]["role"] == "analyst":
        from walkers_dist.roles.analyst import report_state

        report_state(run, info["plan"][rank]["number"], "given up")
    elif run.fail(f"{name} {why}"):
        print(f"walkers: {name} {why} (see {run.error})", file=sys.stderr, flush=True)
