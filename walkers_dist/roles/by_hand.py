"""The changes made by hand in the course of a run, as its events tell them: the schedule is in its configuration."""

from __future__ import annotations

from collections.abc import Mapping

from walkers_dist.config.course import SNAPSHOT, Change, Course, History
from walkers_dist.config.schema import Experiment
from walkers_dist.records.events import change_of
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tables import read_rows

STOP, STEPS = "stop", "steps"
"""A stop by hand is a change of `steps`; other stops tell of the rule, or the signal, that decided them."""
CURVATURE = "curvature"
"""The source of a learning rate that was set from curvature: it acts again at a resume, as what was set by hand."""
GIVEN = ("live", "resume", CURVATURE)


def changes_by_hand(run: RunDirectory, begin: int = 0) -> tuple[Change, ...]:
    """Those of steps >= `begin`, and the snapshots asked for."""
    return tuple(
        change_of(row) for row in read_rows(run.table("events")) if _is_by_hand(row) and int(row["step"]) >= begin
    )


def _is_by_hand(row: Mapping[str, str]) -> bool:
    source, key = row["source"], row["key"]
    return source == SNAPSHOT or (source in GIVEN and key != "") or (source, key) == (STOP, STEPS)


def experiment_at(run: RunDirectory, step: int, experiment: Experiment | None = None) -> Experiment:
    """The experiment of a run (`experiment`, if it has been read already) as the walkers had it at a step: by its
    schedule, and by the changes by hand so far. Raises UserError."""
    return Course(experiment or experiment_of(run), History(given=changes_by_hand(run))).experiment_at(step)
