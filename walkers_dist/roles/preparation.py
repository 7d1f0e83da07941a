"""What the coordinator does before the first step: checks everything, then makes or takes up the run directory.

Nothing is made, and nothing of an old run is touched, before all that the user asked for has been found possible.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from walkers_dist.config import merge
from walkers_dist.config.changes import is_live, may_resume_with
from walkers_dist.config.course import Change, Course, History
from walkers_dist.config.errors import UserError
from walkers_dist.config.load import dump, load
from walkers_dist.config.schema import Experiment
from walkers_dist.coupling.easgd import EASGD
from walkers_dist.coupling.theory import stability_warning
from walkers_dist.curvature.full import refuse_too_large
from walkers_dist.distributed import devices
from walkers_dist.distributed.plan import Plan
from walkers_dist.landscape import Landscape, build
from walkers_dist.landscape.quadratic import Quadratic
from walkers_dist.records import disk, run_directory
from walkers_dist.records.checkpoints import Checkpoint, checkpoint_index, newest_checkpoint
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.snapshots import snapshot_index
from walkers_dist.records.tables import COLUMNS, Table, read_rows
from walkers_dist.roles.analyst import begin_again
from walkers_dist.roles.progress import say
from walkers_dist.roles.request import Request


@dataclass
class Preparation:
    """A run about to begin, in a directory that is to be made or in the one that it goes on in."""

    experiment: Experiment
    """As in `config.yaml`; how it has changed since is in the history."""
    landscape: Landscape
    history: History = field(default_factory=History)
    state: Mapping[str, Any] = field(default_factory=dict)
    """What the coordinator's part of the checkpoint says beside the center."""
    checkpoint: Checkpoint | None = None
    run: RunDirectory | None = None
    folder: Path | None = None
    """Where the configuration of a new run lies: the user's own modules may lie beside it."""
    entered: bool = False

    def course(self) -> Course:
        return Course(self.experiment, self.history)


def prepare(request: Request) -> Preparation:
    """Check what was asked for, down to the data and the model. Raises `UserError`."""
    return _resume(request) if request.resume else _new(request)


def _new(request: Request) -> Preparation:
    assert request.config is not None
    experiment = load(request.config, request.overrides)
    return Preparation(experiment, _checked_landscape(experiment), folder=Path(request.config).absolute().parent)


def _checked_landscape(experiment: Experiment) -> Landscape:
    devices.set_up_process(experiment.threads)
    landscape = build(experiment.landscape, seed=experiment.seed, dtype=experiment.dtype)
    landscape.steps_per_epoch(experiment.dynamics.batch_size)
    if experiment.analysts and experiment.curvature and experiment.curvature.full != "never":
        try:
            refuse_too_large(landscape.size)
        except UserError as error:
            raise UserError(f"curvature.full = {experiment.curvature.full}: {error}; never leaves it out") from None
    if isinstance(landscape, Quadratic) and not getattr(experiment.dynamics, "momentum", 0):
        h = float(landscape.h.abs().max())
        warning = stability_warning(experiment.coupling, experiment.dynamics.lr, h, experiment.walkers)
        if warning:
            print(f"warning: {warning}", file=sys.stderr, flush=True)
    return landscape


def _resume(request: Request) -> Preparation:
    assert request.resume is not None
    run = run_directory.open(request.resume)
    run.claim()
    try:
        return _resume_claimed(run, request)
    except BaseException:
        run.release()
        raise


def _resume_claimed(run: RunDirectory, request: Request) -> Preparation:
    experiment = experiment_of(run)
    changes = [merge.split(word) for word in request.overrides]
    for key, value in changes:
        if not may_resume_with(experiment, key):
            raise UserError(f"{key} = {value}: cannot change at a resume; a fork may change any key")
    moved = [word for word in request.overrides if not is_live(experiment, merge.split(word)[0])]
    experiment = experiment_of(run, moved)
    landscape = _checked_landscape(experiment)
    _check_tables(run)
    checkpoint = newest_checkpoint(run)
    for line in checkpoint.passed_over if checkpoint else ():
        print(f"warning: {line}; going on from the checkpoint before it", file=sys.stderr, flush=True)
    state = checkpoint.state() if checkpoint else {}
    begin = checkpoint.step if checkpoint else 0
    if checkpoint is None:
        print(f"warning: {run.path} has no checkpoint: it begins at step 0 again", file=sys.stderr, flush=True)
    _check_positions(run, begin, state.get("positions", {}))
    asked = [Change(begin, "resume", key, None, value) for key, value in changes if is_live(experiment, key)]
    given = (*_given_before(run, begin), *asked)
    if {"steps", "stop"} & {change.key.partition(".")[0] for change in given if change.source == "resume"}:
        state |= {"stop": None, "stopped": False}  # other steps or another rule take back what the rule had decided
    history = History(
        begin=begin,
        resumed=checkpoint is not None,
        ended=bool(state.get("stopped")),
        made=tuple(Change(**change) for change in state.get("changes", [])),
        given=given,
    )
    preparation = Preparation(experiment, landscape, history, state, checkpoint, run)
    _try(preparation)
    return preparation


def _check_positions(run: RunDirectory, begin: int, positions: Mapping[str, int]) -> None:
    """Raise `UserError` where a table has lost rows from before the checkpoint (a crash of the whole machine can)."""
    for name, position in positions.items():
        if not run.table(name).exists() or run.table(name).stat().st_size < position:
            raise UserError(f"{run.table(name)}: is shorter than when the checkpoint of step {begin} was written")


def _check_tables(run: RunDirectory) -> None:
    """Raise `UserError` where a file is another table than its name says, before any is cut."""
    for name, columns in COLUMNS.items():
        if run.table(name).exists():
            Table(run.table(name), columns).close()


def _given_before(run: RunDirectory, begin: int) -> list[Change]:
    """Changes made by hand that the checkpoint does not hold yet: they act again."""
    return [
        Change(int(row["step"]), row["source"], row["key"], json.loads(row["old"]), json.loads(row["new"]))
        for row in read_rows(run.table("events"))
        if row["source"] in ("live", "resume") and row["key"] and int(row["step"]) >= begin
    ]


def _try(preparation: Preparation) -> None:
    """Make every change that lies ahead, on a course of its own. Raises `UserError` where one is impossible."""
    course = preparation.course()
    for step in sorted({preparation.history.begin, *(change.step for change in preparation.history.given)}):
        course.advance(step)
    if (steps := course.experiment.steps) < preparation.history.begin:
        raise UserError(f"steps = {steps}: the run is at step {preparation.history.begin} already")


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
        run.write_info(_facts(experiment, plan, preparation))
        run.claim()
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


def _write_config(run: RunDirectory, experiment: Experiment) -> None:
    disk.replace(run.config, dump(experiment).encode())


def _cut_back(run: RunDirectory, begin: int) -> None:
    """Everything at steps >= begin goes, but for the events."""
    for name in ("results", "distances", "eigenvalues"):  # no analyst is there yet
        if run.table(name).exists():
            table = Table(run.table(name), COLUMNS[name])
            table.truncate(begin)
            table.close()
    snapshot_index(run).truncate(begin)
    checkpoint_index(run).truncate(begin + 1)
    begin_again(run, begin)
    run.error.unlink(missing_ok=True)


def _tell_of_resume(run: RunDirectory, begin: int) -> None:
    events = Table(run.table("events"), COLUMNS["events"])
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    events.append([[begin, now, "resume", "", "", ""]])
    events.close()


def _facts(experiment: Experiment, plan: Plan, preparation: Preparation) -> dict[str, Any]:
    coupling = experiment.coupling
    beta = getattr(coupling, "beta", None)
    return {
        "status": "running",
        "name": experiment.name,
        "begin": preparation.history.begin,
        "plan": [{"name": seat.name, **entry} for seat, entry in zip(plan.seats, plan.to_json(), strict=True)],
        "walkers_per_process": max(len(seat.walkers) for seat in plan.walkers),
        "device": "cuda" if any(seat.gpu for seat in plan.walkers) else "cpu",
        "threads": experiment.threads,
        "parameters": preparation.landscape.size,
        "beta": experiment.walkers * coupling.alpha if isinstance(coupling, EASGD) and beta is None else beta,
        **({"modules": [str(Path.cwd()), str(preparation.folder)]} if preparation.folder else {}),
        "parent": None,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("walkers_dist", "torch", "numpy", "scipy")},
        },
        "git": _git_revision(),
        "command": sys.argv,
    }


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


def first_center(preparation: Preparation, walkers: Sequence[str]) -> torch.Tensor:
    """Where the center begins, [P]: as the landscape says, or at the mean of the walkers' starts; or as it was."""
    landscape = preparation.landscape
    if preparation.checkpoint:
        return preparation.checkpoint.tensors(["center"])["center"]["x"].to(landscape.dtype)
    center = landscape.center_start()
    if center is None:
        center = sum(landscape.start(name).double() for name in walkers) / len(walkers)  # type: ignore[assignment]
    return center.to("cpu", landscape.dtype)  # type: ignore[union-attr]
