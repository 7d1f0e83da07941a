"""`walkers list`: a line a run, whatever state it is in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import walkers_dist as wd
from walkers_dist import cli
from walkers_dist.api.last_rows import CHUNK, figure, last_rows
from walkers_dist.api.listing import HEADER, list_runs
from walkers_dist.records import run_directory
from walkers_dist.records.tables import COLUMNS, Table, read_rows

DIGITS: dict[str, Any] = {
    "name": "digits",
    "landscape": {"data": {"train_size": 60, "test_size": 30}, "model": {"name": "mlp", "hidden": [3]}},
    "walkers": 3,
    "steps": 6,
    "dynamics": {"batch_size": 20},
    "coupling": {"name": "easgd"},
    "log": {"every": 2},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wd.run(DIGITS, run_dir=tmp_path_factory.mktemp("runs") / "digits", report=False).path


@pytest.fixture
def runs(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `runs` where the command looks, with one run in it."""
    shutil.copytree(finished, tmp_path / "runs/digits")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.fixture
def another(runs: Path) -> Callable[..., run_directory.RunDirectory]:
    """`another(name, status=…)`: a copy of the run, with entries of its run.json changed."""

    def copy(name: str, **changes: object) -> run_directory.RunDirectory:
        run = run_directory.open(shutil.copytree(runs / "digits", runs / name))
        run.update_info(**changes)
        return run

    return copy


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    capsys.readouterr()
    assert cli.main(["list", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_last_figures_are_those_of_the_center(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, line = listed(capsys)
    assert header.split() == [*HEADER]
    last = [row for row in read_rows(runs / "digits/results.csv") if row["walker"] == "center"][-1]
    loss, accuracy = f"{float(last['train_loss']):.4g}", f"{float(last['test_accuracy']):.4f}"
    assert line.split()[:6] == ["digits", "done", "6/6", "3", loss, accuracy]
    info = json.loads((runs / "digits/run.json").read_text())
    assert line.split()[6:8] == info["started"][:19].split("T")


def test_where_there_is_no_center_the_mean_of_the_walkers(tmp_path: Path) -> None:
    table = Table(tmp_path / "results.csv", COLUMNS["results"])
    for step in (0, 5):
        table.append([[step, None, f"w{i}", 0.1, 1, step + i, 1, None, *[None] * 3, 0.5] for i in range(3)])
    rows = last_rows(table.path)
    assert [row["walker"] for row in rows] == ["w0", "w1", "w2"] and figure(rows, "train_loss") == 6
    assert figure(rows, "test_accuracy") is None


@pytest.mark.parametrize("walkers", [1, 7, 5000])
def test_last_rows_are_found_without_reading_the_others(tmp_path: Path, walkers: int) -> None:
    """Against a reader of everything; one block is longer than what is read at first, one is a small part of it."""
    table = Table(tmp_path / "results.csv", COLUMNS["results"])
    for step in range(0, 30, 10):
        table.append([[step, 1 / 3, f"w{i}", 0.1, *[i / 7] * 7, 0.5] for i in range(walkers)])
    assert walkers < 5000 or table.position() > 3 * CHUNK
    with table.path.open("ab") as file:
        file.write(b"30,0.3,w0,0.1")  # being written
    assert last_rows(table.path) == [row for row in read_rows(table.path) if row["step"] == "20"]
    assert last_rows(tmp_path / "none.csv") == []
    table.path.write_text("step,epo")
    assert last_rows(table.path) == []


def test_runs_come_in_the_order_of_their_start(
    another: Callable[..., run_directory.RunDirectory], runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the time, not by its text: other places have other clocks."""
    another("first", started="2001-01-01T12:00:00+09:00", status="interrupted")
    another("second", started="2001-01-01T05:00:00+00:00", status="failed")
    assert [line.split()[:2] for line in listed(capsys)[1:]] == [
        ["first", "interrupted"], ["second", "failed"], ["digits", "done"],
    ]  # fmt: skip


def test_columns_stand_under_their_names(
    another: Callable[..., run_directory.RunDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    another("a run with a long name")
    header, *lines = listed(capsys)
    for column in ("step", "walkers", "train_loss", "test_accuracy"):
        end = header.index(column) + len(column)
        assert all(line[end - 1] != " " and line[end : end + 2] == "  " for line in lines), column


@pytest.mark.parametrize("status", ["running", "paused", "analysing"])
def test_a_run_whose_owner_is_dead_is_lost(
    another: Callable[..., run_directory.RunDirectory], runs: Path, status: str
) -> None:
    owned = another("owned", status=status)
    owned.claim()
    lines = {line.run: line.status for line in list_runs(runs)}
    assert lines["owned"] == status
    assert {line.run: line.status for line in list_runs(runs)}["owned"] == status  # looking takes nothing away
    owned.release()
    assert {line.run: line.status for line in list_runs(runs)}["owned"] == "lost"
    owned.claim()  # nor is the lock taken by who looked
    owned.update_info(owner={"host": "elsewhere", "pid": 1})
    owned.release()
    assert {line.run: line.status for line in list_runs(runs)}["owned"] == status  # who knows


def test_a_run_that_was_killed_is_lost(runs: Path, finished: Path) -> None:
    """By a process that really held it."""
    shutil.copytree(finished, runs / "killed")
    program = f"""
import os, time
from walkers_dist.records import run_directory
run = run_directory.open({str(runs / "killed")!r})
run.claim()
run.update_info(status="running")
print("claimed", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == b"claimed\n"
        assert {line.run: line.status for line in list_runs(runs)}["killed"] == "running"
        owner.kill()
        owner.wait(20)
    assert {line.run: line.status for line in list_runs(runs)}["killed"] == "lost"


def test_steps_are_those_that_a_change_has_set(runs: Path) -> None:
    wd.resume(runs / "digits", ["steps=9"], report=False)
    (line,) = list_runs(runs)
    assert (line.step, line.steps) == (9, 9)


def test_broken_runs_are_listed_with_what_is_wrong(
    another: Callable[..., run_directory.RunDirectory], runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    another("a").info.unlink()
    another("b").info.write_text("{")
    another("c").config.write_text("steps: [")
    another("d").config.write_text("name: d\n")
    another("e").table("results").write_text("other,columns\n1,2\n")
    another("f").config.unlink()
    another("g", started="yesterday")
    (runs / "figures").mkdir()  # what is no run at all is left out
    (runs / "notes.txt").write_text("")
    header, whole, *broken = listed(capsys)
    assert whole.startswith("digits  done") and header.startswith("run")
    assert [line.split("  ")[0] for line in broken] == [*"abcdefg"]
    assert broken[0] == "a  broken: holds no run.json" and broken[1] == "b  broken: run.json: is damaged: not JSON"
    assert broken[2].startswith("c  broken: config.yaml: line 1")
    assert broken[5] == "f  broken: config.yaml: No such file or directory"
    assert all("broken: " in line for line in broken)


def test_a_run_before_its_first_row(another: Callable[..., run_directory.RunDirectory], runs: Path) -> None:
    run = another("young")
    run.table("results").unlink()
    line = next(line for line in list_runs(runs) if line.run == "young")
    assert line.cells()[:6] == ["young", "done", "-/6", "3", "-", "-"] and line.cells()[7] == "-"


def test_a_run_that_has_diverged_says_so(another: Callable[..., run_directory.RunDirectory], runs: Path) -> None:
    table = another("diverged").table("results")
    *rows, last = table.read_text().splitlines()
    table.write_text("\n".join([*rows, last, "8,1.0,center,0.1,nan,nan,nan,0.1,nan,nan,0.1,0.5"]) + "\n")
    line = next(line for line in list_runs(runs) if line.run == "diverged")
    assert line.cells()[2:6] == ["8/6", "3", "nan", "0.1000"]


def test_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys, str(tmp_path)) == [f"{tmp_path}: holds no run"]


def test_neither_torch_nor_pandas_is_loaded(runs: Path) -> None:
    program = "import sys; from walkers_dist import cli; cli.main(['list']); print(*sys.modules, file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "digits" in ended.stdout and not {"torch", "pandas", "numpy"} & set(ended.stderr.split())


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The width of a terminal does not matter."""
    monkeypatch.setitem(os.environ, "COLUMNS", "20")
    yield
