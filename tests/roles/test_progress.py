"""The line that says where the run stands, by a clock of its own."""

from __future__ import annotations

import io
import math
import re
import sys
from collections.abc import Callable

import pytest

from walkers_dist.roles import progress
from walkers_dist.roles.progress import Progress

Clock = Callable[[float], None]
LOSSES = {"center": 0.5, "w0": 0.75, "w1": 0.25}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def passes(seconds: float) -> None:
        now[0] += seconds

    return passes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> Terminal:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    return screen


def test_elsewhere_a_line_every_tenth_of_the_way(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    line = Progress(0)
    for t in range(0, 1001, 5):
        line.show(t, 1000, LOSSES, 0.25)
        clock(0.1)
    line.done(1000)
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "ended at step 1000: all steps are made"
    assert [int(text.split("/")[0].removeprefix("step")) for text in lines] == list(range(0, 1001, 100))
    assert all(text.isprintable() for text in lines)  # no control characters


def test_what_it_says(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    line = Progress(100)  # a resumed run: its speed is that of the steps made now
    clock(2.0)
    line.show(300, 1000, LOSSES, 0.256)
    said = capsys.readouterr().out
    assert said == "step  300/1000  100 steps/s  loss center 0.5  best w1 0.25  measuring 26 %  0:07 left\n"


@pytest.mark.parametrize(("left", "words"), [(59.4, "0:59"), (60, "1:00"), (3599, "59:59"), (7265, "2:01:05")])
def test_time_left(clock: Clock, capsys: pytest.CaptureFixture[str], left: float, words: str) -> None:
    line = Progress(0)
    clock(left)
    line.show(10, 20, LOSSES, 0)
    assert capsys.readouterr().out.endswith(f"  {words} left\n")


def test_before_the_first_step_there_is_no_speed(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    Progress(0).show(0, 0, {"w0": 1.0}, 0.0)
    said = capsys.readouterr().out
    assert "0 steps/s" in said and "left" not in said and "center" not in said


def test_the_best_walker_is_one_that_is_finite(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    Progress(0).show(0, 10, {"center": 0.1, "w0": math.nan, "w1": math.inf, "w2": 3.0}, 0.0)
    assert "best w2 3" in capsys.readouterr().out
    Progress(0).show(0, 10, {"w0": math.nan}, 0.0)
    assert "best w0 nan" in capsys.readouterr().out


def test_in_a_terminal_one_line_moves(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, 120)
    line = Progress(0)
    for t in range(0, 101):
        line.show(t, 100, LOSSES, 0.0)
        clock(0.0625)
    line.done(100, "the rule says so")
    said, last, rest = screen.getvalue().split("\n")
    assert (last, rest) == ("ended at step 100: the rule says so", "")
    shown = [int(t) for t in re.findall(r"\rstep +(\d+)/100", said)]
    assert shown == list(range(0, 101, 4))  # no more often than every 0.2 s
    assert {len(part) for part in said.split("\r")[1:]} == {119}  # a shorter line wipes out a longer one


def test_a_narrow_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch, 30)
    Progress(0).show(5, 10, LOSSES, 0.0)
    assert len(screen.getvalue().lstrip("\r")) == 29  # else it would wrap, and not move
