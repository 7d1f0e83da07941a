"""A rank that fails ends the whole run: its own error is the one to read, the tables are whole, nobody is left."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

SOON = 30.0  # s from the error to the end of the run


def assert_ended_by(command, error: str) -> None:
    """It ended soon after `error`, which is on top of error.txt and, on one line, in the terminal."""
    assert command.wait() == 1
    written = (command.run / "error.txt").stat().st_mtime
    assert time.time() - written < SOON
    first = (command.run / "error.txt").read_text().splitlines()[0]
    assert first == error
    assert command.err.splitlines()[0] == f"walkers: {error} (see {command.run}/error.txt)"
    assert command.leaves_nothing()
    assert command.status() == "failed"


def assert_books_are_whole(command) -> None:
    """Rows of every walker at every report, and a checkpoint to go on from."""
    rows = command.rows()
    steps = [int(row["step"]) for row in rows if row["walker"] == "w1"]
    assert steps == list(range(0, steps[-1] + 1, 5))
    assert [row["walker"] for row in rows] == ["center", "w0", "w1"] * len(steps)
    assert command.last_checkpoint() >= 20


def test_a_walker_that_raises(walkers, slow: Path) -> None:
    command = walkers("run", slow, "landscape.fails_in=w1", "landscape.at=60", "--no-report")
    assert_ended_by(command, "walkers 1: ArithmeticError: w1 has lost its way")
    assert command.err.count("\n") == 1
    assert "bowls.py" in (command.run / "error.txt").read_text()
    assert_books_are_whole(command)


def test_a_walker_that_raises_under_torchrun(torchrun, slow: Path) -> None:
    command = torchrun(3, slow, "landscape.fails_in=w0", "landscape.at=60", "--no-report")
    assert_ended_by(command, "walkers 0: ArithmeticError: w0 has lost its way")
    assert_books_are_whole(command)


def limit_files(pid: int, size: int) -> None:
    """The process can write no file beyond so many bytes: to it, the disk is full."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def test_a_coordinator_that_raises(walkers, slow: Path) -> None:
    """Its disk is full in the middle of a row."""
    command = walkers("run", slow, "--no-report")
    command.at_step(100)
    table = command.run / "results.csv"
    limit_files(command.playing("coordinator"), table.stat().st_size + 1000)
    assert_ended_by(command, f"coordinator: {table}: cannot be written: File too large")
    assert_books_are_whole(command)


def test_a_disk_that_is_too_full_for_the_error(walkers, slow: Path) -> None:
    command = walkers("run", slow, "--no-report", stderr=subprocess.PIPE)
    command.at_step(40)
    limit_files(command.playing("coordinator"), 0)
    assert command.wait() == 1
    said, table = command.process.stderr.read().decode(), command.run / "results.csv"
    assert said == f"walkers: coordinator: {table}: cannot be written: File too large (see {command.run}/error.txt)\n"
    assert command.leaves_nothing()
    assert_books_are_whole(command)


@pytest.mark.parametrize("name", ["coordinator", "walkers 0"])
def test_a_rank_that_is_killed(walkers, slow: Path, name: str) -> None:
    command = walkers("run", slow, "--no-report")
    command.at_step(40)
    os.kill(command.playing(name), signal.SIGKILL)
    assert_ended_by(command, f"{name} was ended by SIGKILL")
    assert_books_are_whole(command)


# ---- before there is a run ------------------------------------------------------------------------------------


def test_a_rank_that_is_killed_before_the_run_begins(walkers, slow: Path) -> None:
    """While the coordinator is still looking at the data."""
    (slow.parent / "endless.py").write_text("import time\ndef bowl(**keys):\n    time.sleep(600)\n")
    command = walkers("run", slow, "landscape={kind: 'endless:bowl'}")
    launcher = command.with_word("_launch")
    ranks = command.until(lambda: len(found := forked(command, launcher)) == 3 and found, "3 ranks")
    os.kill(max(ranks), signal.SIGKILL)  # the coordinator was the first
    assert command.wait() == 1
    assert command.err == "walkers: a process was ended by SIGKILL before the run began\n"
    assert command.leaves_nothing() and not list(slow.parent.glob("runs"))


def forked(command, launcher: int) -> list[int]:
    """Children of the forkserver, itself a child of the launcher."""
    parents = {}
    for pid in command.family():
        with contextlib.suppress(OSError):  # it has just ended
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return [pid for pid, parent in parents.items() if parents.get(parent) == launcher]


def test_ranks_that_do_not_come_in_time(walkers, slow: Path) -> None:
    command = walkers("run", slow, "exchange.timeouts.start=1.0e-6", "--no-report")
    assert command.wait() == 1
    assert re.match(r"walkers: ranks \[.*\] did not .* within exchange.timeouts.start\n$", command.err)
    assert command.leaves_nothing()
    if list(slow.parent.glob("runs/*")):  # they had appeared, and not accepted
        assert command.status() == "failed" and (command.run / "error.txt").read_text().startswith("coordinator: ranks")
