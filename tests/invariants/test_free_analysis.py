"""Invariant 4: an analyst that is stopped or killed holds nobody up, and nothing of its work is lost."""

from __future__ import annotations

import os
import signal

import pytest
import torch

import walkers_dist as wd
from walkers_dist.records.tables import ANALYSED
from walkers_dist.roles import tasks
from walkers_dist.roles.analyst import Analyst, report_state


def test_stopped_it_holds_nobody_up_and_catches_up(walkers, tools, tmp_path, over_processes):
    command = walkers(tmp_path / "run", tools.DIGITS)
    os.kill(analyst := command.pid("analyst 0"), signal.SIGSTOP)
    tools.until(lambda: command.status == "analysing", "the end of the training")
    assert tools.last_step(command.run) == tools.DIGITS["steps"]
    assert len(tools.table(command.run, "eigenvalues")) < len(over_processes["eigenvalues"])
    os.kill(analyst, signal.SIGCONT)
    assert command.wait() == 0, command.said
    tools.assert_equal(tools.contents(command.run), over_processes)


def test_killed_it_is_started_again(walkers, tools, tmp_path, over_processes):
    """As soon as it has begun its work, and again in the midst of it."""
    command = walkers(tmp_path / "run", tools.DIGITS)
    first = command.pid("analyst 0")
    os.kill(first, signal.SIGKILL)
    tools.until(lambda: tools.table(command.run, "eigenvalues"), "its first rows")
    second = command.pid("analyst 0")
    assert first != second
    os.kill(second, signal.SIGKILL)
    assert command.wait() == 0, command.said
    tools.assert_equal(tools.contents(command.run), over_processes)


def test_killed_before_the_run_has_begun_it_is_started_again(walkers, tools, tmp_path, over_processes):
    command = walkers(tmp_path / "run", tools.DIGITS)
    ranks = tools.until(lambda: len(found := command.ranks()) == 4 and found, "four ranks")
    os.kill(ranks[-1], signal.SIGKILL)
    assert command.wait() == 0, command.said
    tools.assert_equal(tools.contents(command.run), over_processes)


def test_killed_at_every_start_it_is_given_up(walkers, tools, tmp_path, over_processes):
    """The run ends with what there is, and a resume makes up for it."""
    command, killed = walkers(tmp_path / "run", tools.DIGITS), []
    for _ in range(4):
        analyst = tools.until(lambda: command.pid("analyst 0") not in killed and command.pid("analyst 0"), "another")
        killed.append(analyst)
        os.kill(analyst, signal.SIGKILL)
    assert command.wait() == 0, command.said
    assert command.status == "done"
    assert not (command.run / "error.txt").exists()
    tools.assert_equal(tools.contents(command.run), over_processes, leave_out=ANALYSED)
    found = tools.contents(command.run)["eigenvalues"]
    assert found == over_processes["eigenvalues"][: len(found)] != over_processes["eigenvalues"]
    again = walkers(command.run)
    assert again.wait() == 0, again.said
    tools.assert_equal(tools.contents(command.run), over_processes)


def test_of_two_the_second_is_killed(walkers, tools, tmp_path, over_processes):
    command = walkers(tmp_path / "run", {**tools.DIGITS, "analysts": 2})
    os.kill(command.pid("analyst 1"), signal.SIGKILL)
    assert command.wait() == 0, command.said
    tools.assert_equal(tools.contents(command.run), over_processes)


@pytest.mark.parametrize("torn", [False, True])
def test_started_again_it_measures_only_what_is_missing(torn, tools, tmp_path, in_process, monkeypatch):
    """Of a task whose rows are not all there, nothing is kept: a kill may have left half of them."""
    run = wd.run(tools.DIGITS, run_dir=tmp_path / "run", report=False)
    table = run.path / "eigenvalues.csv"
    lines = table.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.startswith("step") or int(line.split(",")[0]) <= 100]
    table.write_text("".join(kept[:-1]) + kept[-1][:9] if torn else "".join(kept))
    report_state(run.directory, 0, "working")
    measured, read = [], tasks.read_snapshot
    noted = lambda run, step, walker, **patience: measured.append((step, walker)) or read(run, step, walker)  # noqa: E731
    monkeypatch.setattr(tasks, "read_snapshot", noted)
    torch.set_num_threads(tools.DIGITS["threads"])
    Analyst(run.directory, 0, 1, torch.device("cpu")).work()
    again = [(100, "w1")] if torn else []
    assert measured == [*again, (150, "center"), (150, "w1"), (160, "center"), (160, "w1")]
    tools.assert_equal(tools.contents(run.path), in_process)
