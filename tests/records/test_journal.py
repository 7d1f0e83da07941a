"""The journal of the analysts: what a kill, a power cut or a late measurement leaves is what it vouches for."""

from __future__ import annotations

import pytest

from walkers_dist.records.journal import Journal
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tables import COLUMNS, Table, merge_rows


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path)


def measure(run, step, task, finish=True):
    """A task with a row of its own in two tables; unfinished, it was killed between its rows and its line."""
    lengths = {}
    for name in ("planes", "plane_points"):
        table = Table(run.table(name), COLUMNS[name])
        table.append([[step, task, *[0.5] * (len(COLUMNS[name]) - 2)]])
        lengths[name] = table.position()
        table.close()
    if finish:
        Journal(run).note(step, task, lengths)


def rows(run, name="planes"):
    lines = run.table(name).read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS[name])
    return [tuple(line.split(",")[:2]) for line in lines[1:]]


def recovered(run):
    Journal(run).recover()
    return Journal(run).finished()


def test_what_is_finished_stays(run):
    for step in (0, 5):
        measure(run, step, "a")
    assert recovered(run) == {(0, "a"), (5, "a")}
    assert rows(run) == rows(run, "plane_points") == [("0", "a"), ("5", "a")]


def test_rows_of_a_task_that_did_not_finish_are_cut_off(run):
    measure(run, 0, "a")
    measure(run, 5, "a", finish=False)
    assert recovered(run) == {(0, "a")}
    assert rows(run) == rows(run, "plane_points") == [("0", "a")]


def test_rows_of_the_very_first_task_too(run):
    measure(run, 0, "a", finish=False)
    assert recovered(run) == set()
    assert run.table("planes").read_bytes() == b""


@pytest.mark.parametrize("lost", [1, 9])
def test_a_task_whose_rows_are_lost_is_not_finished(run, lost):
    for step in (0, 5, 10):
        measure(run, step, "a")
    table = run.table("plane_points")
    line = len(table.read_bytes().splitlines(keepends=True)[-1])
    table.write_bytes(table.read_bytes()[: -line - lost])
    assert recovered(run) == {(0, "a")}
    assert rows(run) == rows(run, "plane_points") == [("0", "a")]


def test_a_torn_line_is_none(run):
    measure(run, 0, "a")
    with Journal(run).path.open("ab") as file:
        file.write(b'{"step": 5, "task": "a", "len')
    assert recovered(run) == {(0, "a")}
    measure(run, 5, "a")
    assert recovered(run) == {(0, "a"), (5, "a")}


def test_after_a_cut_back_what_was_before_stays_finished(run):
    for step in (0, 5, 10):
        measure(run, step, "a")
    for name in ("planes", "plane_points"):
        table = Table(run.table(name), COLUMNS[name])
        table.truncate(5)
        table.close()
    Journal(run).begin_again(5)
    assert recovered(run) == {(0, "a")}
    measure(run, 5, "b")
    assert recovered(run) == {(0, "a"), (5, "b")}
    assert rows(run) == [("0", "a"), ("5", "b")]


def late(run, step):
    merge_rows(run.table("planes"), "planes", [[step, "late", *[0.25] * 6]])


def test_late_rows_are_vouched_for(run):
    for step in (0, 10):
        measure(run, step, "a")
    with Journal(run).rewriting():
        late(run, 5)
    assert recovered(run) == {(0, "a"), (10, "a")}
    assert rows(run) == [("0", "a"), ("5", "late"), ("10", "a")]
    measure(run, 15, "a", finish=False)
    assert recovered(run) == {(0, "a"), (10, "a")}
    assert rows(run) == [("0", "a"), ("5", "late"), ("10", "a")]


def test_killed_while_it_rewrites_tables_are_taken_as_they_are(run, monkeypatch):
    for step in (0, 10):
        measure(run, step, "a")
    monkeypatch.setattr(Journal, "_vouch", lambda self, tasks: None)
    with Journal(run).rewriting():
        late(run, 5)
    monkeypatch.undo()
    assert recovered(run) == {(0, "a"), (10, "a")}
    assert rows(run) == [("0", "a"), ("5", "late"), ("10", "a")]
