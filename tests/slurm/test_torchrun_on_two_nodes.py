"""torchrun on two machines, as `launch/torchrun.sh` starts it: each agent in a network of its own, a rank is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LAUNCH = Path(__file__).parents[2] / "launch" / "torchrun.sh"
PATIENCE = 200.0  # s
LONG = ("steps=300", "checkpoint.every=40", "snapshots.every=40", "curvature.every=40")


class Agents:
    """Two agents, one on each node of the cluster, which only lends its networks."""

    def __init__(self, slurm, *words: str) -> None:
        self.logs = [slurm.folder / f"agent-{number}.log" for number in (1, 2)]
        self.processes = []
        for number, log in enumerate(self.logs, 1):
            command = [*slurm.inside(number), str(LAUNCH), slurm.address(1), "2", "2", "bowl.yaml", *words]
            with log.open("wb") as out:
                self.processes.append(
                    subprocess.Popen(
                        command, cwd=slurm.folder, env=slurm.environment, stdin=subprocess.DEVNULL, stdout=out,
                        stderr=out, start_new_session=True,
                    )
                )  # fmt: skip

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.said()}"
            time.sleep(0.1)
        return value

    def said(self) -> str:
        return "\n".join(log.read_text() for log in self.logs)

    def end(self) -> list[int]:
        """Their exit codes."""
        self.until(lambda: all(process.poll() is not None for process in self.processes), "the end")
        return [process.returncode for process in self.processes]

    def kill(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()  # its ranks go with it
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


@pytest.fixture
def agents(slurm) -> Iterator[Callable[..., Agents]]:
    started: list[Agents] = []

    def start(*words: str) -> Agents:
        started.append(Agents(slurm, *words))
        return started[-1]

    yield start
    for one in started:
        one.kill()


def playing(run: Path, name: str, word: str = "") -> int:
    """The process that writes this log of the run, with that in its command line; 0 while there is none."""
    log = str(run / "logs" / f"{name}.log")
    for folder in Path("/proc").iterdir():
        try:
            own = folder.name.isdigit() and os.readlink(folder / "fd" / "2") == log
            if own and word in (folder / "cmdline").read_text():
                return int(folder.name)
        except OSError:  # it has just ended
            continue
    return 0


@pytest.mark.parametrize("name", ["walkers-0", "walkers-1"])
def test_a_killed_rank(slurm, agents, tables, name: str) -> None:
    """On either machine: all ranks start again and go on from the checkpoint, in the same run directory."""
    run = slurm.folder / "run"
    both = agents(*LONG, "landscape.pause=0.02", "--run-dir", "run", "--no-report")
    both.until(lambda: list(run.glob("checkpoints/step-00000040")), "a checkpoint")
    os.kill(both.until(lambda: playing(run, name), name), signal.SIGKILL)
    slurm.walkers("run", "bowl.yaml", *LONG, "--run-dir", "undisturbed", "--no-report")
    assert both.end() == [0, 0], both.said()
    assert json.loads((run / "run.json").read_text())["status"] == "done"
    assert "resume" in (run / "events.csv").read_text()
    assert tables(run) == tables(slurm.folder / "undisturbed")


def test_a_killed_analyst(slurm, agents, tables) -> None:
    """Its own child dies, in the middle of the run: another one does the rest, and no other rank takes notice."""
    run = slurm.folder / "run"
    both = agents(*LONG, "landscape.pause=0.02", "--run-dir", "run", "--no-report")
    both.until(lambda: tables(run).get("eigenvalues.csv"), "an analysis")
    first = playing(run, "analyst-0", "_analyst")
    os.kill(first, signal.SIGKILL)
    both.until(lambda: playing(run, "analyst-0", "_analyst") not in (0, first), "another analyst")
    assert json.loads((run / "run.json").read_text())["status"] == "running"
    slurm.walkers("run", "bowl.yaml", *LONG, "--run-dir", "undisturbed", "--no-report")
    assert both.end() == [0, 0], both.said()
    assert json.loads((run / "run.json").read_text())["status"] == "done"
    assert not (run / "error.txt").exists() and "resume" not in (run / "events.csv").read_text()
    assert tables(run) == tables(slurm.folder / "undisturbed")
