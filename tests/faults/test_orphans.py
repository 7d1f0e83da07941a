"""However a launcher dies, none of the processes that it started outlives it by five seconds."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

ANALYSED = ("analysts=1", "curvature={every: 20}")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("victim", ["run", "_launch"])
def test_walkers_run(walkers, slow: Path, victim: str) -> None:
    """The command itself, and its child, which owns the forkserver."""
    command = walkers("run", slow, *ANALYSED, "--no-report")
    command.at_step(30)
    assert command.playing("analyst 0") and len(command.family()) >= 7
    kill(command.with_word(victim))
    assert command.leaves_nothing()
    if victim == "_launch":
        assert command.wait() == 1
        assert command.err == "walkers: the launcher was ended by SIGKILL\n"
    assert command.rows() and command.last_checkpoint() >= 20


def test_walkers_run_while_the_report_is_drawn(walkers, quick: Path) -> None:
    """A plotting library that takes its time to load keeps the report's process busy."""
    (quick.parent / "matplotlib.py").write_text("import time\ntime.sleep(600)\n")
    command = walkers("run", quick)
    assert command.with_word("report")
    kill(command.process.pid)
    assert command.leaves_nothing()


def test_torchrun(torchrun, slow: Path) -> None:
    """Its agent dies; a rank that only supervises an analyst takes that along."""
    command = torchrun(5, slow, *ANALYSED, "--no-report")
    command.at_step(30)
    assert command.with_word("_analyst")
    kill(command.process.pid)
    assert command.leaves_nothing()
    assert command.rows() and command.last_checkpoint() >= 20


def test_a_script(command, slow: Path) -> None:
    (slow.parent / "script.py").write_text("import walkers_dist\nwalkers_dist.run('slow.yaml', in_process=False)\n")
    script = command([sys.executable, "script.py"])
    script.at_step(10)
    kill(script.process.pid)
    assert script.leaves_nothing()
