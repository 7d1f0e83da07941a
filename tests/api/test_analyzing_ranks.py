"""`walkers analyze` over several ranks: the tables of one process, for runs and for networks by themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import walkers_dist as wd
from walkers_dist.api.opened import read_table
from walkers_dist.cli import main

THEIRS = """
import torch
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 4))


def load():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(61, 1, 6, 6, generator=generator)
    y = torch.randint(0, 4, (61,), generator=generator)
    return x, y, x[:4], y[:4]
"""
ASKED = ["--top", "3", "--bottom", "2", "--full", "--matrix", "hessian,ggn,residual", "--no-report"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keys = {
        "name": "small",
        "walkers": 2,
        "steps": 30,
        "landscape": {"data": {"name": "digits", "train_size": 101}, "model": {"hidden": [4]}, "l2": 0.01},
        "dynamics": {"batch_size": 20},
    }
    return wd.run(keys, run_dir=tmp_path_factory.mktemp("runs") / "small").path


@pytest.fixture(scope="module")
def alone(finished: Path) -> pd.DataFrame:
    own = shutil.copytree(finished, finished.parent / "alone")
    assert main(["analyze", str(own), "--walkers", "all", *ASKED]) == 0
    return wd.open_run(own).eigenvalues


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    words = ["step", "walker", "matrix", "side", "rank"]
    assert len(found) and found[words].equals(wanted[words])
    top = wanted["eigenvalue"].abs().max()
    assert np.abs(found["eigenvalue"] - wanted["eigenvalue"]).max() <= 1e-10 * top


def walkers(where: Path, *words: str, under: tuple[str, ...] = ("-m", "walkers_dist")) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(where)}
    return subprocess.run(
        [sys.executable, *under, *words], cwd=where, env=environment, capture_output=True, text=True, timeout=240
    )


def test_two_ranks_of_its_own(finished: Path, alone: pd.DataFrame, tmp_path: Path) -> None:
    own = shutil.copytree(finished, tmp_path / "own")
    done = walkers(tmp_path, "analyze", "own", "--walkers", "all", "--ranks", "2", *ASKED)
    assert done.returncode == 0, done.stderr
    same(wd.open_run(own).eigenvalues, alone)


def test_the_ranks_of_torchrun(finished: Path, alone: pd.DataFrame, tmp_path: Path) -> None:
    own = shutil.copytree(finished, tmp_path / "own")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2")
    done = walkers(tmp_path, "analyze", "own", "--walkers", "all", *ASKED, under=(*torchrun, "-m", "walkers_dist"))
    assert done.returncode == 0, done.stderr
    same(wd.open_run(own).eigenvalues, alone)


def test_a_network_by_itself(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(THEIRS)
    network = ["analyze", "--model", "theirs:Net", "--data", "theirs:load", *ASKED]
    found = []
    for ranks in ("1", "3"):
        done = walkers(tmp_path, *network, "--ranks", ranks, "--out", ranks)
        assert done.returncode == 0, done.stderr
        found.append(read_table(tmp_path / ranks / "eigenvalues.csv", "eigenvalues"))
    same(*found)


@pytest.mark.parametrize("ranks", ["0", "-1", "1000", "two"])
def test_a_wrong_number_of_ranks_is_one_line(finished: Path, ranks: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["analyze", str(finished), "--ranks", ranks, "--no-report"])
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    err = capsys.readouterr().err
    assert code == 2 and "ranks" in err and err.count("\n") == 1
