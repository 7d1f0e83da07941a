"""What a run that did not wait for its analysts has left to be measured, and the doing of it later."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from walkers_dist.config.errors import UserError
from walkers_dist.distributed import devices
from walkers_dist.distributed.signals import stop_signals
from walkers_dist.landscape import Landscape
from walkers_dist.records import run_directory
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.journal import Journal
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.snapshots import snapshot_index
from walkers_dist.roles.analyst import Analyst, report_state
from walkers_dist.roles.by_hand import experiment_at
from walkers_dist.roles.progress import say
from walkers_dist.roles.tasks import Task, tasks_at


def pending(run: RunDirectory, landscape: Landscape) -> list[Task]:
    """The tasks that no analyst has finished yet, in their order."""
    finished = Journal(run).finished()
    return [task for task in _tasks(run, landscape) if (task.step, task.name) not in finished]


def _tasks(run: RunDirectory, landscape: Landscape) -> Iterator[Task]:
    experiment, kept = experiment_of(run), dict[tuple[str, str], int]()
    for entry in snapshot_index(run).entries():
        yield from tasks_at(run, landscape, experiment_at(run, entry.step, experiment), entry, kept)


def described(tasks: list[Task]) -> list[dict[str, object]]:
    """As `run.json` lists them."""
    return [{"step": task.step, "task": task.name} for task in tasks]


def list_pending(run: RunDirectory, landscape: Landscape) -> None:
    """Say in `run.json` and in a line what the analysts leave behind."""
    left = pending(run, landscape)
    run.update_info(pending=described(left))
    if left:
        again = shlex.quote(str(run.path))
        say(f"{len(left)} measurements are pending, from step {left[0].step} on: walkers analyze {again} --pending")


def catch_up(path: str) -> None:
    """Measure in this process what is pending of a run that has ended. Raises `UserError` where it has not.

    Any signal raises `KeyboardInterrupt`: what is finished by then stays so.
    """
    run = run_directory.open(path)
    run.claim()
    try:
        if (status := run.read_info().get("status")) not in ("done", "analysing"):  # so a killed one leaves it
            raise UserError(f"{path}: is {status}: only a run that is done has measurements pending")
        experiment = experiment_of(run)
        devices.set_up_process(experiment.threads)
        analyst = Analyst(run, 0, 1, devices.device_of_rank(experiment.device))
        run.update_info(status="analysing")
        try:
            with stop_signals() as signals:
                signals.patience = 0
                analyst.work()
        finally:
            run.update_info(status="done", pending=described(pending(run, analyst.landscape)))
        for number in range(experiment.analysts):
            report_state(run, number, "done")
    finally:
        run.release()
