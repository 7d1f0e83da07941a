"""Ctrl-C and SIGTERM end a run with a checkpoint and 130; a second one ends it at once."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import termios
import threading
import time
from pathlib import Path

import pytest

CTRL_C = b"\x03"


class Terminal:
    """A terminal that a command can be started in, and whose screen is recorded."""

    def __init__(self) -> None:
        self.keyboard, self.inner = pty.openpty()
        self.screen = b""
        threading.Thread(target=self._record, daemon=True).start()

    def _record(self) -> None:
        while True:
            try:
                self.screen += os.read(self.keyboard, 4096)
            except OSError:  # nobody has it open any more
                return

    def keywords(self) -> dict[str, object]:
        """For Popen: the command leads the terminal's foreground group, as a shell would have it."""
        return {
            **dict.fromkeys(("stdin", "stdout", "stderr"), self.inner),
            "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        }


def assert_interrupted(command, steps_before: int, by: str = "SIGINT") -> None:
    assert command.wait(30) == 130
    assert command.leaves_nothing()
    assert command.status() == "interrupted"
    assert not (command.run / "error.txt").exists()
    last = int(command.rows()[-1]["step"])
    assert command.last_checkpoint() == last > steps_before
    (event,) = [row for row in command.rows("events") if row["source"] == "stop"]
    assert (int(event["step"]), event["key"]) == (last - 1, by)
    assert "Traceback" not in command.out + command.err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_one_signal(walkers, slow: Path, name: str) -> None:
    command = walkers("run", slow, "analysts=1", "curvature={every: 20}", "--no-report")
    command.at_step(30)
    os.kill(command.process.pid, signal.Signals[name])
    assert_interrupted(command, 30, name)
    assert command.err == "" and command.out.endswith(f"\ninterrupted: walkers resume {command.run}\n")


def test_ctrl_c_in_a_terminal(walkers, slow: Path) -> None:
    """The terminal sends SIGINT to its whole foreground group; progress has been one line that moves."""
    terminal = Terminal()
    command = walkers("run", slow, "--no-report", **terminal.keywords())
    os.close(terminal.inner)
    command.at_step(40)
    time.sleep(0.5)  # some refreshes of the line
    os.write(terminal.keyboard, CTRL_C)
    assert_interrupted(command, 40)
    lines = terminal.screen.decode().replace("^C", "").replace("\r\n", "\n").rstrip("\n").split("\n")
    assert lines[-1] == f"interrupted: walkers resume {command.run}"
    moving = next(line for line in lines if "steps/s" in line)
    assert sum("steps/s" in line for line in lines) == 1, "more than one line"
    assert moving.count("\r") >= 3
    assert not any(ord(character) < 32 and character not in "\r\n" for line in lines for character in line)


def test_two_signals(walkers, slow: Path) -> None:
    """A step takes a minute: no report would come to act on the first signal."""
    command = walkers("run", slow, "landscape.pause=60", "--no-report")
    command.at_step(0)
    os.kill(command.process.pid, signal.SIGINT)
    time.sleep(1)
    assert command.process.poll() is None, "the first signal ends the run at a report, not before"
    os.kill(command.process.pid, signal.SIGINT)
    assert command.wait(5) == 130
    assert command.leaves_nothing() and command.status() == "interrupted"
    assert command.err == ""


def test_every_process_is_warned(walkers, slow: Path) -> None:
    """SLURM's warning may reach each process of a step, the forkserver and those that only begin too."""
    command = walkers("run", slow, "analysts=1", "curvature={every: 20}", "--no-report")
    command.at_step(30)
    for pid in command.family():
        os.kill(pid, signal.SIGUSR1)
    assert_interrupted(command, 30, "SIGUSR1")
    assert command.err == ""


def test_in_process(walkers, slow: Path) -> None:
    command = walkers("run", slow, "--in-process", "--no-report")
    command.at_step(30)
    os.kill(command.process.pid, signal.SIGINT)
    assert_interrupted(command, 30)


def test_two_signals_in_process(walkers, slow: Path) -> None:
    command = walkers("run", slow, "landscape.pause=60", "--in-process", "--no-report")
    command.at_step(0)
    os.kill(command.process.pid, signal.SIGINT)
    time.sleep(1)
    assert command.process.poll() is None, "the first signal ends the run at a report, not before"
    os.kill(command.process.pid, signal.SIGINT)
    assert command.wait(5) == 130
    assert command.err == "" and command.status() == "interrupted" and command.leaves_nothing()


def test_one_signal_while_the_analysis_goes_on_in_process(walkers, slow: Path) -> None:
    """A hundred full spectra of 800 eigenvalues are asked for: a minute."""
    many = ("landscape={kind: quadratic, dim: 800}", "curvature={every: 1, full: always}", "analysts=1", "steps=50")
    command = walkers("run", slow, *many, "--in-process", "--no-report")
    command.until(lambda: list(slow.parent.glob("runs/*/eigenvalues.csv")), "the analysis")
    os.kill(command.process.pid, signal.SIGINT)
    assert command.wait(5) == 130
    assert command.err == "" and command.status() == "interrupted" and command.last_checkpoint() == 50
    command.rows("eigenvalues")


def test_ctrl_c_at_any_moment_of_the_start(walkers, slow: Path) -> None:
    """Whatever is being loaded or looked for: 130, nothing to read, and no run or one that can be gone on with."""
    commands = []
    for number, delay in enumerate((0.5, 1.5, 3.0, 4.5)):
        folder = slow.parent / str(number)
        folder.mkdir()
        command = walkers("run", slow, "--no-report", folder=folder)
        threading.Timer(delay, os.kill, (command.process.pid, signal.SIGINT)).start()
        commands.append(command)
    for command in commands:
        assert command.wait() == 130
        assert command.err == ""
        assert command.leaves_nothing(30)  # a forkserver first loads what it was told to load
        if list(command.folder.glob("runs/*")):
            assert command.status() == "interrupted" and command.last_checkpoint() > 0


def test_an_interrupted_run_goes_on(walkers, slow: Path) -> None:
    command = walkers("run", slow, "--no-report")
    command.at_step(10)
    os.kill(command.process.pid, signal.SIGINT)
    assert_interrupted(command, 10)
    last = command.last_checkpoint()
    again = walkers("resume", command.run, f"steps={last + 10}", "--no-report")
    assert again.wait() == 0
    assert again.status() == "done"
    steps = [int(row["step"]) for row in again.rows() if row["walker"] == "center"]
    assert steps == sorted({*range(0, last + 11, 5), last + 10})
