"""Making the run directory, or taking up the one of a resume, and what `run.json` says of the start."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from walkers_dist.config.load import dump
from walkers_dist.config.schema import Experiment
from walkers_dist.coupling.easgd import EASGD
from walkers_dist.distributed.plan import Plan
from walkers_dist.landscape import Landscape
from walkers_dist.landscape.network import Network
from walkers_dist.records import disk, run_directory
from walkers_dist.records.checkpoints import checkpoint_index
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.snapshots import snapshot_index
from walkers_dist.records.tables import COLUMNS, Table
from walkers_dist.roles.analyst import begin_again
from walkers_dist.roles.forking import Fork
from walkers_dist.roles.preparation import Preparation
from walkers_dist.roles.progress import say
from walkers_dist.roles.requeued import remember


def enter(preparation: Preparation, plan: Plan, run_dir: str | None) -> RunDirectory:
    """Make the run directory, or cut the one of a resume back to its checkpoint; owned from here on.

    Entered already, for a roster that has changed since, it only notes the new plan.
    """
    experiment = preparation.experiment
    if preparation.entered and preparation.run:
        preparation.run.update_info(**_facts(experiment, plan, preparation))
        return preparation.run
    if preparation.run is None:
        explicit = Path(run_dir).expanduser().absolute() if run_dir else None
        run = preparation.run = run_directory.create(Path("runs").absolute(), experiment.name, datetime.now(), explicit)
        _write_config(run, experiment)  # first: whatever holds a run.json can be resumed
        if preparation.fork:
            _write_first_checkpoint(run, preparation.fork, preparation)
            for line in preparation.fork.notes():
                print(line, file=sys.stderr, flush=True)
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        run.write_info({**_facts(experiment, plan, preparation), "parent": preparation.parent, "started": started})
        run.claim()
        if not preparation.fork:
            remember(run, experiment, run_dir)
    else:
        run = preparation.run
        _cut_back(run, preparation.history.begin)
        _tell_of_resume(run, preparation.history.begin)
        _write_config(run, experiment)
        run.update_info(**_facts(experiment, plan, preparation))
    run.logs.mkdir(exist_ok=True)
    preparation.entered = True
    say(f"run directory: {run.path}")
    return run


def _write_first_checkpoint(run: RunDirectory, fork: Fork, preparation: Preparation) -> None:
    """That of a fork; nothing is left of the directory where the parent's files turn out to be damaged by now."""
    try:
        preparation.checkpoint = fork.write(run, preparation.landscape)
    except BaseException:
        run.remove()
        preparation.run = None
        raise


def _write_config(run: RunDirectory, experiment: Experiment) -> None:
    disk.replace(run.config, dump(experiment).encode())


def _cut_back(run: RunDirectory, begin: int) -> None:
    """Everything at steps >= begin goes, but for the events."""
    for name in ("results", "distances"):
        if run.table(name).exists():
            table = Table(run.table(name), COLUMNS[name])
            table.truncate(begin)
            table.close()
    snapshot_index(run).truncate(begin)
    checkpoint_index(run).truncate(begin + 1)
    begin_again(run, begin)  # no analyst is there yet
    run.error.unlink(missing_ok=True)


def _tell_of_resume(run: RunDirectory, begin: int) -> None:
    events = Table(run.table("events"), COLUMNS["events"])
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    events.append([[begin, now, "resume", "", "", ""]])
    events.close()


def _facts(experiment: Experiment, plan: Plan, preparation: Preparation) -> dict[str, Any]:
    coupling, landscape = experiment.coupling, preparation.landscape
    beta = getattr(coupling, "beta", None)
    return {
        "status": "running",
        "name": experiment.name,
        "begin": preparation.history.begin,
        "plan": [{"name": seat.name, **entry} for seat, entry in zip(plan.seats, plan.to_json(), strict=True)],
        "walkers_per_process": max(len(seat.walkers) for seat in plan.walkers),
        "device": "cuda" if any(seat.gpu for seat in plan.walkers) else "cpu",
        "threads": experiment.threads,
        "parameters": landscape.size,
        "beta": experiment.walkers * coupling.alpha if isinstance(coupling, EASGD) and beta is None else beta,
        **_modules(preparation),
        **_start_of(landscape),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("walkers_dist", "torch", "numpy", "scipy")},
        },
        "git": _git_revision(),
        "command": sys.argv,
    }


def _modules(preparation: Preparation) -> dict[str, Any]:
    """Where a new run finds the user's own modules; a resume looks where it did."""
    if preparation.parent:
        return {"modules": [str(Path.cwd()), *preparation.modules]}
    return {"modules": [str(Path.cwd()), str(preparation.folder)]} if preparation.folder else {}


def _start_of(landscape: Landscape) -> dict[str, Any]:
    """Which file the walkers start from, where it was read: a resume from a checkpoint reads none."""
    facts = landscape.start_from.facts if isinstance(landscape, Network) and landscape.start_from else None
    return {"start": facts} if facts else {}


def _git_revision() -> str | None:
    """The revision checked out where the run was started, marked where files differ from it."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
