"""A run again from its beginning, with what was changed by hand as a schedule: its tables are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from walkers_dist.config import merge
from walkers_dist.config.course import SNAPSHOT, Change
from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.config.schema import Experiment
from walkers_dist.records import run_directory
from walkers_dist.records.experiment import experiment_of
from walkers_dist.roles.by_hand import STEPS, STOP, changes_by_hand
from walkers_dist.roles.request import Request


@dataclass(frozen=True)
class Replay:
    """`parent` and `modules`: see `Preparation`."""

    experiment: Experiment
    parent: dict[str, Any]
    modules: Sequence[str]


def replayed(request: Request) -> Replay:
    """What the new run is to be. Raises `UserError` where the old one cannot be run again from its beginning."""
    assert request.replay is not None
    run = run_directory.open(request.replay)
    info = run.read_info()
    if (whence := info.get("parent") or {}) and not whence.get("replay"):
        raise UserError(f"{run.path}: begins where {whence.get('run')} stands, and has no beginning to replay")
    keys = scheduled(experiment_of(run), changes_by_hand(run))
    experiment = parse(merge.merged(keys, request.overrides), run.path.name)
    parent = {"run": str(run.path.absolute()), "step": 0, "replay": True}
    return Replay(experiment, parent, list(info.get("modules", [])))


def scheduled(experiment: Experiment, given: Sequence[Change]) -> dict[str, Any]:
    """The keys of the experiment with what was given by hand in its schedule, behind what stands there: so it was made.

    A stop by hand becomes the number of steps, where nobody changed that otherwise.
    """
    changes = [change for change in given if change.source != SNAPSHOT]
    stops = [change for change in changes if (change.source, change.key) == (STOP, STEPS)]
    steps = experiment.steps
    changed = [change.key for change in changes] + [key for entry in experiment.schedule for key in entry.set]
    if stops and changed.count(STEPS) == 1:
        steps = stops[0].step
        changes.remove(stops[0])
    entries = [entry.model_dump() for entry in experiment.schedule]
    entries += [{"at": change.step, "set": {change.key: change.new}} for change in changes]
    keys = {**experiment.model_dump(), "steps": steps, "schedule": entries}
    for holder in (keys, *(entry["set"] for entry in entries)):
        _fix_rate(holder)
    return keys


def _fix_rate(keys: dict[str, Any]) -> None:
    """Let no curvature set the learning rate: what it was set to is in the schedule."""
    if "curvature.lr" in keys:
        keys["curvature.lr"] = None
    if isinstance(keys.get("curvature"), dict):
        keys["curvature"] = {**keys["curvature"], "lr": None}
