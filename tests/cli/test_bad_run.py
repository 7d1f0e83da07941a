"""Runs that cannot be made, gone on with, or read: exit code 2, one line that names the directory or file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import walkers_dist as wd
from walkers_dist.records import run_directory
from walkers_dist.roles.analyst import Analyst

Refused = Callable[..., str]
EXPERIMENT = {
    "name": "bowl",
    "landscape": {"kind": "quadratic", "dim": 3},
    "walkers": 2,
    "steps": 6,
    "snapshots": {"every": 2},
    "checkpoint": {"every": 2},
    "curvature": {"every": 2, "full": "never"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "bowl"
    return wd.run(EXPERIMENT, run_dir=path, report=False).path


@pytest.fixture
def run(finished: Path, folder: Path) -> Path:
    """A finished run in the folder where commands run, to be damaged."""
    shutil.copytree(finished, folder / "bowl")
    (folder / "bowl.yaml").write_bytes((finished / "config.yaml").read_bytes())
    return Path("bowl")


@pytest.fixture
def living(run: Path) -> Iterator[Path]:
    """A run that somebody is working on."""
    owner = run_directory.open(run)
    owner.claim()
    yield run
    owner.release()


def damage(file: Path) -> None:
    """One bit of it flips, the size stays."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


# ---- where a new run is to lie --------------------------------------------------------------------------------


def test_run_directory_that_holds_something(refused: Refused, run: Path) -> None:
    line = "run directory {}: is not empty: name one that is, or that does not exist"
    path = run.absolute()
    assert refused("run", "bowl.yaml", "--run-dir", run, "--in-process") == line.format(path)
    assert refused("run", "bowl.yaml", "--run-dir", ".", "--in-process") == line.format(path.parent)


def test_run_directory_that_cannot_be(refused: Refused, run: Path) -> None:
    file = Path("bowl.yaml").absolute()
    said = refused("run", "bowl.yaml", "--run-dir", file, "--in-process")
    assert said == f"run directory {file}: cannot be made: File exists"
    said = refused("run", "bowl.yaml", "--run-dir", file / "sub", "--in-process")
    assert said == f"run directory {file}/sub: cannot be made: File exists"
    said = refused("run", "bowl.yaml", "--run-dir", "x" * 300, "--in-process")
    assert said.endswith("cannot be made: File name too long")


# ---- a run to go on with --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["resume", "report"])
def test_no_run(refused: Refused, folder: Path, command: str) -> None:
    more = ["--in-process"] if command == "resume" else []
    assert refused(command, "none", *more) == "none: is not a run directory: there is no such directory"
    (folder / "empty").mkdir()
    assert refused(command, "empty", *more) == "empty: is not a run directory: it holds no run.json"
    (folder / "file").write_text("")
    assert refused(command, "file", *more) == "file: is not a run directory: there is no such directory"


def test_resume_of_a_living_run(refused: Refused, living: Path) -> None:
    owner = json.loads((living / "run.json").read_text())["owner"]
    line = f"bowl: in use by {owner['host']} process {owner['pid']}: end it first, or take another run directory"
    assert refused("resume", living, "--in-process") == line
    said = refused("run", "bowl.yaml", "--run-dir", living, "--in-process")
    assert said == f"run directory {living.absolute()}: is not empty: name one that is, or that does not exist"


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("seed=3", "seed = 3: cannot change at a resume; a fork may change any key"),
        ("dynamics.batch_size=3", "dynamics.batch_size = 3: cannot change at a resume; a fork may change any key"),
        ("walkers=3", "walkers = 3: cannot change at a resume; a fork may change any key"),
        ("steps=5", "steps = 5: the run is at step 6 already"),
        ("steps=-1", "steps = -1: must be at least 0"),
        ("dynamics.lr=0", "dynamics.lr = 0: must be greater than 0"),
        ("dynamics.lrr=1", "unknown key dynamics.lrr; did you mean dynamics.lr?"),
        ("threads=0", "threads = 0: must be at least 1"),
        ("steps", "steps: an override is written key=value"),
    ],
)
def test_resume_with_a_change_that_cannot_be(refused: Refused, run: Path, word: str, line: str) -> None:
    assert refused("resume", run, word, "--in-process") == line


def test_damaged_books(refused: Refused, run: Path) -> None:
    (run / "config.yaml").write_text("steps: [")
    assert refused("resume", run, "--in-process").startswith("bowl/config.yaml: line 1")
    (run / "config.yaml").unlink()
    assert refused("resume", run, "--in-process") == "bowl/config.yaml: No such file or directory"
    assert refused("report", run) == "bowl/config.yaml: No such file or directory"
    (run / "run.json").write_text("{")
    assert refused("resume", run, "--in-process") == "bowl/run.json: is damaged: not JSON"
    assert refused("report", run) == "bowl/run.json: is damaged: not JSON"


@pytest.mark.parametrize("name", ["results", "distances", "eigenvalues", "events"])
def test_a_table_that_is_another(refused: Refused, run: Path, name: str) -> None:
    (run / f"{name}.csv").write_text("a,b\n1,2\n")
    said = refused("resume", run, "steps=8", "--in-process")
    assert said.startswith(f"bowl/{name}.csv: is not a table with the columns step, ")


# ---- damaged points -------------------------------------------------------------------------------------------


def test_every_checkpoint_damaged(refused: Refused, run: Path) -> None:
    for part in run.glob("checkpoints/step-*/coordinator.safetensors"):
        damage(part)
    said = refused("resume", run, "steps=8", "--in-process")
    assert said.startswith("bowl: every checkpoint is damaged: bowl/checkpoints/step-00000006/coordinator.safetensors")
    index = run / "checkpoints" / "index.jsonl"
    index.write_text(index.read_text().replace('"step"', '"stop"', 1))
    assert refused("resume", run, "--in-process") == "bowl/checkpoints/index.jsonl: line 1 is damaged"


def test_an_older_checkpoint_serves(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = run / "checkpoints/step-00000006/walkers-0-1.safetensors"
    damage(damaged)
    assert wd.resume(run, report=False).status == "done"
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: {damaged}: is damaged") and warning.count("\n") == 1


def test_a_damaged_snapshot(run: Path) -> None:
    """Read by a user, and by an analyst, which has it to do again."""
    part = run / "snapshots/step-00000004/walkers-0-1.safetensors"
    damage(part)
    with pytest.raises(wd.UserError, match=f"^{part}: is damaged: its SHA-256"):
        wd.open_run(run).snapshot(step=4, walker="w1")
    assert len(wd.open_run(run).snapshot(step=4, walker="center")) == 3
    (run / "eigenvalues.csv").unlink()
    with pytest.raises(wd.UserError, match=f"{part}: is damaged: its SHA-256"):
        Analyst(run_directory.open(run), 0, 1, torch.device("cpu")).work()
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(wd.UserError, match=f"^{part}: is damaged: .* bytes"):
        wd.open_run(run).snapshot(step=4, walker="w1")
    part.unlink()
    with pytest.raises(wd.UserError, match=f"^{part}: is missing"):
        wd.open_run(run).snapshot(step=4, walker="w1")


def test_a_snapshot_that_is_not_there(finished: Path) -> None:
    with pytest.raises(wd.UserError, match=r"snapshots: no step 3: there are 0, 2, 4, 6$"):
        wd.open_run(finished).snapshot(step=3, walker="w0")
    with pytest.raises(wd.UserError, match=r"^no walker w7 at step 4: there are center, w0, w1$"):
        wd.open_run(finished).snapshot(step=4, walker="w7")


# ---- from Python ----------------------------------------------------------------------------------------------


def test_from_python_the_line_is_a_user_error(folder: Path) -> None:
    with pytest.raises(wd.UserError, match=r"^unknown key stepz; did you mean steps\?$"):
        wd.run(EXPERIMENT | {"stepz": 3})
    with pytest.raises(wd.UserError, match=r"^none.yaml: No such file or directory$"):
        wd.run("none.yaml")
    with pytest.raises(wd.UserError, match=r"^none: is not a run directory: there is no such directory$"):
        wd.resume("none")
    with pytest.raises(wd.UserError, match=r"^none: is not a run directory: there is no such directory$"):
        wd.open_run("none")
    assert not list(folder.iterdir())
