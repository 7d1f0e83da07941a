"""The changes made by hand in the course of a run, as its events tell them: the schedule is in its configuration."""

from __future__ import annotations

import json

from walkers_dist.config.course import Change, Course, History
from walkers_dist.config.schema import Experiment
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tables import read_rows


def changes_by_hand(run: RunDirectory, begin: int = 0) -> tuple[Change, ...]:
    """Those of steps >= `begin`."""
    return tuple(
        Change(int(row["step"]), row["source"], row["key"], json.loads(row["old"]), json.loads(row["new"]))
        for row in read_rows(run.table("events"))
        if row["source"] in ("live", "resume") and row["key"] and int(row["step"]) >= begin
    )


def experiment_before(run: RunDirectory, step: int) -> Experiment:
    """The experiment of a run as all that changed it before `step` has left it. Raises UserError."""
    return Course(experiment_of(run), History(given=changes_by_hand(run))).experiment_at(step - 1)
