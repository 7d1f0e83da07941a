"""`walkers analyze` killed by SIGKILL at random instants: the same tables, and nothing that was finished redone.

A file of `analysis/late` is a finished block; it is written once. Blocks are measured one after another, so what a kill
costs is the one that was being measured.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import walkers_dist as wd

CONFIG = {
    "name": "killed",
    "landscape": {
        "data": {"name": "digits", "train_size": 200, "test_size": 20},
        "model": {"name": "mlp", "hidden": [8]},
    },
    "walkers": 2,
    "analysts": 0,
    "steps": 6,
    "snapshots": {"every": 2},
    "log": {"every": 6},
}
WORDS = ("--steps", "all", "--walkers", "all", "--matrix", "hessian,ggn", "--full", "--density", "8x200", "--no-report")
BLOCKS = 4 * 3 * 2
KILLS = 5


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> wd.Run:
    return wd.run(CONFIG, run_dir=tmp_path_factory.mktemp("run") / "run", report=False)


def tables(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.glob("*.csv")}


def finished(run: Path) -> dict[str, tuple[int, int]]:
    """Block -> which file it is, and when it was written."""
    files = {path.name: path.stat() for path in run.glob("analysis/late/*/*.json")}
    return {name: (file.st_ino, file.st_mtime_ns) for name, file in files.items()}


def test_the_same_tables_and_no_finished_block_redone(run: wd.Run, walkers: Callable, tmp_path: Path) -> None:
    undisturbed, victim = tmp_path / "undisturbed", tmp_path / "victim"
    for copy in (undisturbed, victim):
        shutil.copytree(run.path, copy)
    command = walkers("analyze", undisturbed, *WORDS)
    assert command.wait() == 0, command.err
    chance = random.Random(0)
    before: dict[str, tuple[int, int]] = {}
    for _ in range(KILLS):
        command, known = walkers("analyze", victim, *WORDS), len(before)
        command.until(lambda known=known: len(finished(victim)) > known, "another finished block")
        time.sleep(chance.uniform(0, 0.6))
        os.kill(command.process.pid, signal.SIGKILL)
        assert command.wait() == -signal.SIGKILL
        now = finished(victim)
        assert before.items() < now.items() and len(now) < BLOCKS
        before = now
    assert tables(victim) != tables(undisturbed)
    command = walkers("analyze", victim, *WORDS)
    assert command.wait() == 0, command.err
    first = command.out.splitlines()[0]
    assert first.startswith(f"block {len(before) + 1}/{BLOCKS} ")
    assert tables(victim) == tables(undisturbed)
    assert not (victim / "analysis" / "late").exists()
    assert command.out.isascii() and "\r" not in command.out


NETS = """
from torch import nn


def conv():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 10))
"""


def test_one_long_spectrum_goes_on_where_it_was(walkers: Callable, tmp_path: Path, monkeypatch) -> None:
    """Row by row, of a network that no one assembles faster: less than a tenth is made twice."""
    (tmp_path / "their_convs.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    landscape = {"data": {"name": "digits", "train_size": 300}, "model": {"name": "their_convs:conv"}}
    run = wd.run({**CONFIG, "landscape": landscape}, run_dir=tmp_path / "run", report=False)
    words = ("--walkers", "w0", "--full", "--no-report")
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(run.path, undisturbed)
    assert walkers("analyze", undisturbed, *words).wait() == 0
    first = 0
    for least in (30, 60):
        command = walkers("analyze", run.path, *words)
        command.until(lambda command=command, least=least: max(shares(command.out)) >= least, f"{least} %")
        os.kill(command.process.pid, signal.SIGKILL)
        command.wait()
        assert min(shares(command.out)) >= first - 10
        first = max(shares(command.out))
    command = walkers("analyze", run.path, *words)
    assert command.wait() == 0, command.err
    assert min(shares(command.out)) >= first - 10 >= 50
    assert tables(run.path) == tables(undisturbed)


def shares(out: str) -> list[int]:
    """The per cents of the spectrum that were told."""
    return [int(line.split("spectrum ")[1].split(" %")[0]) for line in out.splitlines() if "spectrum " in line] or [0]
