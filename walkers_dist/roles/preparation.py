"""What the coordinator does first: checks all that was asked for. Nothing is made, nothing of an old run touched."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from walkers_dist.config import merge
from walkers_dist.config.changes import is_live, may_resume_with
from walkers_dist.config.course import Change, Course, History
from walkers_dist.config.errors import UserError
from walkers_dist.config.load import load
from walkers_dist.config.schema import Experiment
from walkers_dist.config.text import inline
from walkers_dist.curvature.full import refuse_too_large
from walkers_dist.distributed import devices
from walkers_dist.landscape import Landscape, build
from walkers_dist.records import run_directory
from walkers_dist.records.checkpoints import Checkpoint, newest_checkpoint
from walkers_dist.records.events import Events
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tables import COLUMNS, Table
from walkers_dist.roles import stability
from walkers_dist.roles.by_hand import changes_by_hand
from walkers_dist.roles.desk import Desk
from walkers_dist.roles.forking import Fork, forked
from walkers_dist.roles.prompt import Prompt
from walkers_dist.roles.replaying import replayed
from walkers_dist.roles.request import Request
from walkers_dist.roles.spectra import check_matrices
from walkers_dist.roles.standing import Standing

BIAS_SCALE = "dynamics.output_bias_lr_scale"


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
    fork: Fork | None = None
    """Where a new run begins, if not at the starts of its landscape; its checkpoint is made with its directory."""
    parent: Mapping[str, Any] | None = None
    """What `run.json` says of the run that a new one comes from."""
    modules: Sequence[str] = ()
    """Where that run found the user's own modules."""
    entered: bool = False
    alone: bool = False
    """Whether one process plays all roles."""

    def course(self) -> Course:
        return Course(self.experiment, self.history)

    def stay_alone(self) -> None:
        """Let one process play all roles. Raises `UserError` where more are needed."""
        self.alone, course = True, self.course()
        for experiment in (course.experiment, *(course.experiment for _ in course.rest())):
            check_fits(self.landscape, experiment, alone=True)

    def desk(self, course: Course, request: Request) -> Desk:
        """Where the run is spoken to; its directory is there by now."""
        assert self.run is not None
        begin = self.history.begin
        check = functools.partial(check_fits, self.landscape, alone=self.alone)
        standing = Standing(begin, course.last, begin)
        every = request.ask_every
        prompt = Prompt(every, begin, request.answers, request.echo) if every else None
        return Desk(self.run, course, Events(self.run.table("events")), check, standing, request.paused, prompt)


def prepare(request: Request) -> Preparation:
    """Check what was asked for, down to the data and the model. Raises `UserError`."""
    if request.resume:
        return _resume(request)
    if request.replay:
        return _replay(request)
    return _fork(request) if request.fork else _new(request)


def _new(request: Request) -> Preparation:
    assert request.config is not None
    experiment = load(request.config, request.overrides)
    landscape = _checked_landscape(experiment)
    landscape.start("w0")
    return Preparation(experiment, landscape, folder=Path(request.config).absolute().parent)


def _replay(request: Request) -> Preparation:
    replay = replayed(request)
    landscape = _checked_landscape(replay.experiment)
    landscape.start("w0")
    return Preparation(replay.experiment, landscape, parent=replay.parent, modules=replay.modules)


def _fork(request: Request) -> Preparation:
    fork = forked(request)
    landscape = _checked_landscape(fork.experiment)
    fork.check_points(landscape)
    stability.warn(fork.experiment, stability.measured(fork.moment.run, fork.moment.step))
    history = History(begin=fork.begin, resumed=True, ended=bool(fork.state.get("stopped")))
    return Preparation(
        fork.experiment, landscape, history, fork.state, fork=fork, parent=fork.parent, modules=fork.modules
    )


def _checked_landscape(experiment: Experiment) -> Landscape:
    devices.set_up_process(experiment.threads)
    landscape = build(experiment.landscape, seed=experiment.seed, dtype=experiment.dtype)
    landscape.steps_per_epoch(experiment.dynamics.batch_size)
    check_fits(landscape, experiment)
    _check_bias_scales(landscape, (entry.set.get(BIAS_SCALE) for entry in experiment.schedule))
    stability.warn(experiment, stability.known(landscape))
    return landscape


def check_fits(landscape: Landscape, experiment: Experiment, alone: bool = False) -> None:
    """Raise `UserError` where the experiment asks of the landscape what it has not, or of one process what only
    several can do; it may change while it runs."""
    if alone and experiment.curvature and experiment.curvature.lr:
        raise UserError(
            f"curvature.lr = {experiment.curvature.lr}: needs processes of its own: in one process (--in-process, or "
            "in_process=True) curvature is measured after the last step"
        )
    check_matrices(experiment.curvature.matrix if experiment.curvature else (), landscape)
    _check_bias_scales(landscape, [getattr(experiment.dynamics, "output_bias_lr_scale", 1.0)])
    if experiment.analysts and experiment.curvature and experiment.curvature.full != "never":
        try:
            refuse_too_large(landscape.size)
        except UserError as error:
            raise UserError(f"curvature.full = {experiment.curvature.full}: {error}; never leaves it out") from None


def _check_bias_scales(landscape: Landscape, scales: Iterable[object]) -> None:
    """Raise `UserError` where the bias of an output layer is to be damped that the landscape has not."""
    for scale in scales:
        if landscape.output_bias is None and scale not in (None, 1):
            raise UserError(f"{BIAS_SCALE} = {scale}: must be 1 on a landscape without an output layer that has a bias")


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
    order, experiment = experiment.exchange.order, experiment_of(run, moved)
    if experiment.exchange.order != order:
        raise UserError(f"exchange.order = {inline(experiment.exchange.order)}: cannot change at a resume")
    landscape = _checked_landscape(experiment)
    _check_tables(run)
    checkpoint = newest_checkpoint(run)
    for line in checkpoint.passed_over if checkpoint else ():
        print(f"warning: {line}; going on from the checkpoint before it", file=sys.stderr, flush=True)
    state = checkpoint.state() if checkpoint else {}
    begin = checkpoint.step if checkpoint else 0
    if checkpoint is None:
        landscape.start("w0")
        print(f"warning: {run.path} has no checkpoint: it begins at step 0 again", file=sys.stderr, flush=True)
    _check_positions(run, begin, state.get("positions", {}))
    asked = [Change(begin, "resume", key, None, value) for key, value in changes if is_live(experiment, key)]
    given = (*changes_by_hand(run, begin), *asked)  # those that the checkpoint does not hold yet act again
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
    stability.warn(preparation.course().experiment_at(begin), stability.measured(run, begin))
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


def _try(preparation: Preparation) -> None:
    """Make every change that lies ahead, on a course of its own. Raises `UserError` where one is impossible."""
    course, given = preparation.course(), preparation.history.given
    _check_bias_scales(preparation.landscape, (change.new for change in given if change.key == BIAS_SCALE))
    for step in sorted({preparation.history.begin, *(change.step for change in given)}):
        course.advance(step)
    if (steps := course.experiment.steps) < preparation.history.begin:
        raise UserError(f"steps = {steps}: the run is at step {preparation.history.begin} already")


def first_center(preparation: Preparation, walkers: Sequence[str]) -> torch.Tensor:
    """Where the center begins, [P]: as the landscape says, or at the mean of the walkers' starts; or as it was."""
    landscape = preparation.landscape
    if preparation.checkpoint:
        return preparation.checkpoint.tensors(["center"])["center"]["x"].to(landscape.dtype)
    center = landscape.center_start()
    if center is None:
        center = sum(landscape.start(name).double() for name in walkers) / len(walkers)  # type: ignore[assignment]
    return center.to("cpu", landscape.dtype)  # type: ignore[union-attr]
