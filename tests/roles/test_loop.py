"""The order of things within a step, against a list made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from walkers_dist.config.course import Change, Course, Due
from walkers_dist.config.load import parse
from walkers_dist.roles.loop import walk

KEYS: dict[str, Any] = {
    "steps": 5,
    "log": {"every": 3},
    "snapshots": None,
    "checkpoint": None,
    "control": {"every": 100},
    "schedule": [{"at": 1, "set": {"dynamics.lr": 0.5}}, {"at": 3, "set": {"dynamics.lr": 0.25}}],
}


class Diary:
    """A role that writes down what it is asked, and may end the run when it hears the answer at a step."""

    def __init__(self, name: str, diary: list[str], course: Course, stop_at: int | None = None) -> None:
        self.name, self.diary, self.course, self.stop_at = name, diary, course, stop_at
        self.now = -1

    def note(self, what: str) -> None:
        self.diary.append(f"{self.name} {what}")

    def changed(self, changes: Sequence[Change]) -> None:
        self.note(" ".join(f"changed {change.key}={change.new}" for change in changes))

    def report(self, t: int, due: Due) -> None:
        self.now = t
        self.note(f"report {t}" + " last" * due.last + f" lr={self.course.experiment.dynamics.lr}")

    def hear(self) -> None:
        self.note(f"hear {self.now}")
        if self.now == self.stop_at:
            self.course.end(self.now + 1)

    def step(self, t: int) -> None:
        self.note(f"step {t} lr={self.course.experiment.dynamics.lr}")

    def close(self) -> None:
        self.note("close")


def walked(begin: int = 0, stop_at: int | None = None, **keys: Any) -> tuple[int, list[str]]:
    course, diary = Course(parse({**KEYS, **keys}, "x")), []
    last = walk(course, [Diary("walkers", diary, course, stop_at), Diary("coordinator", diary, course)], begin)
    return last, diary


def both(*entries: str) -> list[str]:
    return [f"{name} {entry}" for entry in entries for name in ("walkers", "coordinator")]


def test_changes_then_the_report_then_the_move() -> None:
    last, diary = walked()
    assert last == 5
    assert diary == [
        *both("report 0 lr=0.1", "hear 0", "step 0 lr=0.1"),
        *both("changed dynamics.lr=0.5", "step 1 lr=0.5"),
        *both("step 2 lr=0.5"),
        *both("changed dynamics.lr=0.25", "report 3 lr=0.25", "hear 3", "step 3 lr=0.25"),
        *both("step 4 lr=0.25"),
        *both("report 5 last lr=0.25", "hear 5"),
        *both("close"),
    ]


def test_from_a_checkpoint() -> None:
    """A checkpoint of step c is the state before the changes of c."""
    last, diary = walked(begin=3)
    assert last == 5
    assert diary[:4] == both("changed dynamics.lr=0.25", "report 3 lr=0.25")
    assert not any("step 2" in entry or "lr=0.5" in entry for entry in diary)


def test_an_answer_ends_the_run_one_step_later() -> None:
    last, diary = walked(stop_at=3)
    assert last == 4
    assert diary[-8:] == both("step 3 lr=0.25", "report 4 last lr=0.25", "hear 4", "close")


@pytest.mark.parametrize(("keys", "begin"), [({"steps": 0, "schedule": []}, 0), ({}, 5)])
def test_no_step_at_all(keys: dict[str, Any], begin: int) -> None:
    last, diary = walked(begin, **keys)
    assert last == begin
    assert [entry.split(" lr=")[0] for entry in diary] == both(f"report {begin} last", f"hear {begin}", "close")


def test_nothing_due_nothing_said() -> None:
    """Between reports walkers talk to nobody."""
    _, diary = walked(steps=50, log={"every": 25}, schedule=[])
    reports = [entry for entry in diary if "report" in entry]
    assert reports == both("report 0 lr=0.1", "report 25 lr=0.1", "report 50 last lr=0.1")
