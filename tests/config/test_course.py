"""What is due when, against a list of every step made by hand, and the changes a course makes on its way."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkers_dist.config.course import Change, Course, History
from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse

KEYS: dict[str, Any] = {
    "steps": 25,
    "log": {"every": 6},
    "snapshots": {"every": 10},
    "checkpoint": {"every": 8},
    "curvature": {"every": 7},
    "probes": {"distances": {"every": 9}},
    "control": {"every": 11},
}
BY_HAND = {
    "rows": {0, 6, 12, 18, 24, 25},
    "distances": {0, 9, 18, 25},
    "snapshot": {0, 7, 10, 14, 20, 21, 25},
    "checkpoint": {8, 16, 24, 25},
    "report": {0, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20, 21, 22, 24, 25},
    "last": {25},
}


def course(**keys: Any) -> Course:
    return Course(parse({**KEYS, **keys}, "x"))


def steps_due(of: Course, end: int = 25) -> dict[str, set[int]]:
    due = {t: of.due(t) for t in range(end + 1)}
    names = [field.name for field in dataclasses.fields(due[0])]
    return {name: {t for t in due if getattr(due[t], name)} for name in names}


def test_due_by_hand() -> None:
    assert steps_due(course()) == BY_HAND
    assert {t for t in range(26) if course().due(t)} == BY_HAND["report"]


@pytest.mark.parametrize(
    ("off", "none"),
    [
        ({"snapshots": None, "curvature": None}, "snapshot"),
        ({"checkpoint": None}, "checkpoint"),
        ({"probes": None}, "distances"),
        ({"probes": {}}, "distances"),
    ],
)
def test_what_is_off_is_never_due(off: dict[str, Any], none: str) -> None:
    got = steps_due(course(**off))
    assert got[none] == set()
    kept = set(BY_HAND) - {none, "report"}
    assert {name: got[name] for name in kept} == {name: BY_HAND[name] for name in kept}


def test_no_steps_at_all() -> None:
    due = course(steps=0).due(0)
    assert all(getattr(due, field.name) for field in dataclasses.fields(due))


SCHEDULE = [
    {"at": 9, "set": {"log.every": 4}},
    {"at": 3, "set": {"dynamics.lr": 0.5, "steps": 30}},
    {"at": 9, "set": {"dynamics.lr": 0.25}},
]


def test_changes_come_at_their_step() -> None:
    c = course(schedule=SCHEDULE)
    made = {t: c.advance(t) for t in range(12)}
    assert {t for t in made if made[t]} == {3, 9}
    assert made[3] == [Change(3, "schedule", "dynamics.lr", 0.1, 0.5), Change(3, "schedule", "steps", 25, 30)]
    assert made[9] == [Change(9, "schedule", "log.every", 6, 4), Change(9, "schedule", "dynamics.lr", 0.5, 0.25)]
    assert (c.experiment.dynamics.lr, c.last, c.due(16).rows) == (0.25, 30, True)


@given(st.integers(0, 12))
def test_a_course_begun_later_goes_on_as_one_that_walked_there(t: int) -> None:
    walked = course(schedule=SCHEDULE)
    made = [change for step in range(t) for change in walked.advance(step)]
    later = Course(course(schedule=SCHEDULE).experiment, History(t, resumed=True, made=tuple(made)))
    assert later.experiment == walked.experiment
    assert later.advance(t) == walked.advance(t)
    assert not later.due(t).checkpoint
    assert dataclasses.replace(later.due(t), checkpoint=walked.due(t).checkpoint) == walked.due(t)


def test_changes_by_hand_act_at_their_step_after_the_scheduled_ones() -> None:
    given = [Change(9, "live", "dynamics.lr", None, 0.125), Change(4, "resume", "steps", None, 40)]
    c = Course(course(schedule=SCHEDULE).experiment, History(given=tuple(given)))
    made = {t: c.advance(t) for t in range(12)}
    assert [change.source for change in made[9]] == ["schedule", "schedule", "live"]
    assert made[4] == [Change(4, "resume", "steps", 30, 40)]
    assert (c.experiment.dynamics.lr, c.last) == (0.125, 40)


def test_the_end_may_come_earlier_and_never_lies_behind() -> None:
    c = course()
    c.advance(10)
    c.end(14)
    assert c.last == 14
    c.end(20)
    assert c.last == 14
    c.change("steps", 100, source="live")
    assert c.last == 14
    c.end(3)
    assert c.last == 10 and c.due(10).last


def test_fewer_steps_end_the_run_where_it_is() -> None:
    c = course()
    c.advance(10)
    assert c.change("steps", 4, source="live") == Change(10, "live", "steps", 25, 4)
    assert c.last == 10


def test_a_refused_change_changes_nothing() -> None:
    c = course()
    before = c.experiment
    with pytest.raises(UserError):
        c.change("dynamics.lr", -1, source="live")
    assert c.experiment == before
