"""Under torchrun: the same tables, one line where it cannot be, and an analyst that may die."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import pytest

TIMES = {"elapsed", "time"}
EXPERIMENT = """
name: digits
landscape: {data: {name: digits, train_size: 200}, model: {name: mlp, hidden: [8]}}
dynamics: {batch_size: 20}
walkers: 4
steps: 40
log: {every: 5}
schedule:
  - {at: 20, set: {dynamics.lr: 0.05}}
probes: {distances: {every: 10}}
curvature: {every: 20, of: [center, w1], top: 2, bottom: 2, full: never}
"""


def tables(run: Path) -> dict[str, list[dict[str, str]]]:
    """Every table as texts, but for the columns that say how long it took."""
    found = {}
    for path in run.glob("*.csv"):
        with path.open(newline="") as file:
            found[path.name] = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
    return found


def test_the_same_tables_as_walkers_run(walkers, torchrun, tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text(EXPERIMENT)
    here = walkers("run", "digits.yaml", "--run-dir", "here", "--no-report")
    there = torchrun(6, "digits.yaml", "--run-dir", "there", "--no-report")
    assert here.wait() == 0, here.err
    assert there.wait() == 0, there.err
    assert here.leaves_nothing() and there.leaves_nothing()
    expected = tables(tmp_path / "here")
    assert {name: len(rows) for name, rows in expected.items()} == {
        "results.csv": 9 * 5, "distances.csv": 5 * 10, "eigenvalues.csv": 3 * 2 * 4, "events.csv": 1,
    }  # fmt: skip
    assert tables(tmp_path / "there") == expected


def test_too_few_ranks(torchrun, quick: Path) -> None:
    """Rank 0 alone says so; what follows is torchrun's own."""
    command = torchrun(3, quick, "walkers=4", "--no-report")
    assert command.wait() == 1
    said = [line for line in command.err.splitlines() if line.startswith("walkers: ")]
    assert said == ["walkers: 3 ranks were started, and 6 are needed: 1 coordinator, 4 for 4 walkers, 1 analysts"]
    assert not list(quick.parent.glob("runs")) and command.leaves_nothing()


def test_spare_ranks_leave_and_a_dead_analyst_starts_again(torchrun, slow: Path) -> None:
    """Its own child dies, not the rank: the run completes, and nothing of the analysis is missing."""
    asked = ("analysts=1", "curvature={every: 20, of: [center], full: never}", "steps=200")
    command = torchrun(5, slow, *asked, "--no-report")
    command.at_step(40)
    os.kill(command.with_word("_analyst"), signal.SIGKILL)
    assert command.wait() == 0, command.err
    assert command.leaves_nothing()
    assert command.status() == "done"
    steps = [int(row["step"]) for row in command.rows("eigenvalues") if (row["side"], row["rank"]) == ("top", "1")]
    assert steps == list(range(0, 201, 20))


def test_an_analyst_that_dies_again_and_again_is_given_up(torchrun, slow: Path) -> None:
    command = torchrun(4, slow, "analysts=1", "curvature={every: 20}", "steps=400", "--no-report")
    dead: set[int] = set()
    while len(dead) < 4:
        pid = command.until(lambda: next(iter(set(analysts(command)) - dead), 0), "another analyst")
        os.kill(pid, signal.SIGKILL)
        dead.add(pid)
    assert command.wait() == 0, command.err
    assert command.leaves_nothing() and command.status() == "done"
    log = command.run / "logs" / "analyst-0.log"
    line = f"analyst 0 was given up, see {log}; walkers resume {command.run} goes on with its work"
    assert command.out.splitlines()[-1] == line


def analysts(command) -> list[int]:
    return [pid for pid, words in command.family().items() if "_analyst" in words]


@pytest.mark.parametrize("everybody", [False, True])
def test_it_is_told_to_stop(torchrun, slow: Path, everybody: bool) -> None:
    """SIGTERM to the agent, which passes it on; or Ctrl-C, which a terminal sends to everybody."""
    command = torchrun(4, slow, "analysts=1", "curvature={every: 20}", "--no-report")
    command.at_step(30)
    if everybody:
        for pid in command.family():
            os.kill(pid, signal.SIGINT)
    else:
        command.process.terminate()
    assert command.wait() != 0
    assert command.leaves_nothing() and command.status() == "interrupted"
    assert not (command.run / "error.txt").exists()
    assert command.last_checkpoint() == int(command.rows()[-1]["step"])
