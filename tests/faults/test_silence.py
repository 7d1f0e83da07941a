"""A process that is alive and says nothing ends the run, by name, once it has been silent for too long."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path


def test_stopped_processes_are_named(walkers, slow: Path) -> None:
    """Two runs at once, since a stopped process takes its time to be killed: of each, one process stands still."""
    cases = []
    for silent, witness in (("walkers 1", "coordinator"), ("coordinator", "walkers [01]")):
        folder = slow.parent / silent
        folder.mkdir()
        command = walkers("run", slow, "exchange.timeouts.silence=3", "--no-report", folder=folder)
        cases.append((command, silent, witness))
    for command, silent, _ in cases:
        command.at_step(40)
        os.kill(command.playing(silent), signal.SIGSTOP)
    for command, silent, witness in cases:
        assert command.wait(30) == 1
        said = (command.run / "error.txt").read_text()
        assert re.fullmatch(rf"{witness}: {silent} has been silent for \d+ s \(exchange.timeouts.silence\)\n", said)
        assert command.err == f"walkers: {said.rstrip()} (see {command.run}/error.txt)\n"
        assert command.leaves_nothing()
        assert command.status() == "failed"
        assert command.rows() and command.last_checkpoint() >= 20


def test_a_slow_process_is_not_silent(walkers, slow: Path) -> None:
    """A step takes longer than the silence that is allowed, and the others wait in a collective meanwhile."""
    command = walkers("run", slow, "exchange.timeouts.silence=1", "landscape.pause=3", "steps=1", "--no-report")
    assert command.wait() == 0, command.err


def test_nobody_is_watched_while_the_report_is_drawn(walkers, quick: Path) -> None:
    """The walkers have left by then, and a report takes longer than the silence that is allowed."""
    command = walkers("run", quick, "exchange.timeouts.silence=1.5")
    assert command.wait() == 0, command.err
    assert command.status() == "done" and (command.run / "report.html").exists()
