"""Grids of runs: their points, and what becomes of them when one fails, or somebody interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from walkers_dist.api.sweeping import folder_name, grid, split_values
from walkers_dist.config.errors import UserError

BOWL = """
landscape: {kind: quadratic, dim: 5, noise: 0.1}
schedule: [{at: 30, set: {dynamics.lr: 0.05}}]
walkers: 2
analysts: 0
steps: 60
"""
PATIENCE = 120.0  # s


@pytest.fixture
def bowl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "bowl.yaml").write_text(BOWL)
    monkeypatch.chdir(tmp_path)
    return "bowl.yaml"


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "walkers_dist", "sweep", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sweep(*words: str) -> tuple[int, list[str], str]:
    """Exit code, and what it said."""
    process = start(*words)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out.splitlines(), err


def status(run: str) -> str:
    return json.loads(Path(run, "run.json").read_text())["status"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1", ["1"]),
        ("1,2, 3", ["1", "2", "3"]),
        ("[1,2],[3,4]", ["[1,2]", "[3,4]"]),
        ("{a: 1, b: [2, 3]},null", ["{a: 1, b: [2, 3]}", "null"]),
        ("'a,b',\"c,[d\"", ["'a,b'", '"c,[d"']),
        ("1e-3,", ["1e-3", ""]),
    ],
)
def test_values_stand_between_commas(text: str, values: list[str]) -> None:
    assert split_values(text) == values


def test_a_folder_is_named_by_its_point() -> None:
    assert folder_name({"dynamics.lr": "0.1", "seed": "2"}) == "dynamics.lr=0.1,seed=2"
    names = {folder_name({"landscape.kind": kind}) for kind in ("a/b", "a_b", "a\nb", "x" * 300, "x" * 299 + "y")}
    assert len(names) == 5
    assert all("/" not in name and name.isprintable() and len(name.encode()) <= 200 for name in names)


def test_the_points_of_a_grid(bowl: str) -> None:
    """Every combination, the last key fastest; a key with one value goes to all of them."""
    points = grid(bowl, ["dynamics.lr=0.1,0.2", "steps=9", "seed=3,4,5"])
    assert [point.name for point in points] == [f"dynamics.lr={lr},seed={s}" for lr in (0.1, 0.2) for s in (3, 4, 5)]
    assert [(p.experiment.dynamics.lr, p.experiment.seed) for p in points] == [
        (lr, seed) for lr in (0.1, 0.2) for seed in (3, 4, 5)
    ]
    assert {point.experiment.steps for point in points} == {9}
    assert {point.path.parent for point in points} == {Path("runs/bowl-sweep").absolute()}


def test_lists_are_values_too(bowl: str) -> None:
    points = grid(bowl, ["landscape.start=[1.0,2.0],[3.0,4.0]"])
    assert [point.experiment.landscape.start for point in points] == [(1, 2), (3, 4)]


def test_a_failed_point_does_not_stop_the_others_and_only_what_is_missing_runs_again(bowl: str) -> None:
    code, out, err = sweep(bowl, "dynamics.lr=0.1,1e30,0.2", "--jobs", "2", "--no-report")
    assert (code, err) == (1, "")
    runs = [f"runs/bowl-sweep/dynamics.lr={lr}" for lr in ("0.1", "1e30", "0.2")]
    assert [status(run) for run in runs] == ["done", "failed", "done"]
    assert any(line.startswith("[2/3] dynamics.lr=1e30 failed: coordinator: w0 diverged") for line in out)
    assert out[-1] == "walkers compare 'runs/bowl-sweep/*' --by dynamics.lr shows them in one table"
    before = [Path(run, "results.csv").stat().st_mtime_ns for run in runs]
    code, out, err = sweep(bowl, "dynamics.lr=0.1,0.2,0.3", "--no-report")
    assert (code, err) == (0, "")
    assert [line for line in out if line.endswith("begins")] == ["[3/3] dynamics.lr=0.3 begins"]
    assert [Path(run, "results.csv").stat().st_mtime_ns for run in runs] == before
    assert status("runs/bowl-sweep/dynamics.lr=0.3") == "done"


def test_an_interrupted_sweep_goes_on_where_it_was(bowl: str) -> None:
    """The run that was being made is resumed; those that had not begun begin."""
    words = (bowl, "seed=1,2", "steps=200000", "control.every=5", "log.every=1000", "--no-report")
    process = start(*words)
    deadline = time.monotonic() + PATIENCE
    table = Path("runs/bowl-sweep/seed=1/results.csv")
    while not table.exists() or table.read_bytes().count(b"\n") < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, "")
    assert "[1/2] seed=1 was interrupted" in out and status("runs/bowl-sweep/seed=1") == "interrupted"
    assert not Path("runs/bowl-sweep/seed=2").exists()
    code, said, _ = sweep(*words, "--dry-run")
    assert code == 0 and [line.split() for line in said] == [
        ["0", "interrupted", "runs/bowl-sweep/seed=1"],
        ["1", "missing", "runs/bowl-sweep/seed=2"],
    ]


def test_the_run_of_another_configuration_is_not_taken_for_a_point(bowl: str) -> None:
    assert sweep(bowl, "seed=1,2", "--no-report")[0] == 0
    with pytest.raises(
        UserError, match=r"seed=1: holds a run with steps = 60, and not 7: name another folder by --out"
    ):
        grid(bowl, ["seed=1,2", "steps=7"])
    assert len(grid(bowl, ["seed=1,2", "threads=2"])) == 2, "where and how it runs is not what it is"


def test_methods_that_run_in_one_process_alone_can_be_swept(bowl: str) -> None:
    apart = "exchange.order=round_robin", "coupling.name=adownpour,mdownpour", "dynamics.momentum=0"
    code, said, _ = sweep(bowl, *apart, "--out", "apart", "--no-report")
    assert code == 1 and sum("failed" in line for line in said) == 2
    code, said, err = sweep(bowl, *apart, "--out", "apart", "--no-report", "--in-process")
    assert (code, err) == (0, ""), said
    assert {status(str(run)) for run in Path("apart").glob("coupling*")} == {"done"}
