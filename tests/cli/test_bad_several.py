"""`list`, `compare`, `fork`, midpoints: what cannot be is refused: exit code 2, one line, nothing left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import walkers_dist as wd

Refused = Callable[..., str]
EXPERIMENT = {
    "name": "bowl",
    "landscape": {"kind": "quadratic", "dim": 3},
    "walkers": 2,
    "steps": 6,
    "snapshots": {"every": 1},
    "checkpoint": {"every": 2},
    "coupling": {"name": "easgd"},
    "schedule": [{"at": 5, "set": {"dynamics.lr": 0.01}}],
    "curvature": {"every": 2, "of": ["w1"], "full": "never"},
}

THERE = "has no checkpoint and no snapshot of it; there are checkpoints 4, 6 and snapshots 0, 1, 2, 3, 4, 5, 6"
SIZE = "the points of bowl have 3 parameters, and those of the landscape {}: must be as many"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wd.run(EXPERIMENT, run_dir=tmp_path_factory.mktemp("finished") / "bowl", report=False).path


@pytest.fixture
def run(finished: Path, folder: Path) -> Path:
    shutil.copytree(finished, folder / "bowl")
    return Path("bowl")


@pytest.fixture
def nothing_is_made(folder: Path, run: Path) -> Callable[..., str]:
    """`nothing_is_made(call)`: the line of its UserError, the folder being as it was."""

    def refuse(call: Callable[[], object]) -> str:
        before = sorted(folder.rglob("*"))
        with pytest.raises(wd.UserError) as error:
            call()
        assert sorted(folder.rglob("*")) == before
        return str(error.value)

    return refuse


# ---- list and compare -------------------------------------------------------------------------------------------


def test_list(refused: Refused, folder: Path) -> None:
    assert refused("list", "none") == "none: is no folder of runs: there is no such directory"
    assert refused("list") == "runs: is no folder of runs: there is no such directory"
    assert refused("list", "--all") == "--all: is no option or argument of this command (see walkers --help)"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["none"], "none: is not a run directory: there is no such directory"),
        (["."], ".: is not a run directory: it holds no run.json"),
        (["none*"], "runs: no run directory matches 'none*'"),
        (["bowl", "--by", "dynamics.lrr"], "by = dynamics.lrr: is no key of these runs; did you mean dynamics.lr?"),
        (["bowl", "--by", "lr"], "by = lr: is no key of these runs; did you mean dynamics.lr?"),
        (["bowl", "steps=3"], "steps=3: is not a run directory: there is no such directory"),
    ],
)
def test_compare(refused: Refused, run: Path, words: list[str], line: str) -> None:
    assert refused("compare", *words) == line


def test_compare_by_what_is_like_nothing(refused: Refused, run: Path) -> None:
    said = refused("compare", run, "--by", "xyzzy")
    assert said.startswith("by = xyzzy: is no key of these runs; they have name, seed, ")


def test_compare_damaged_runs(refused: Refused, run: Path) -> None:
    (run / "results.csv").write_text("step,walker\n3,center\n")
    assert refused("compare", run) == "bowl/results.csv: is not a table of results"
    (run / "config.yaml").unlink()
    assert refused("compare", run) == "bowl/config.yaml: No such file or directory"


# ---- fork -------------------------------------------------------------------------------------------------------


def test_fork_of_no_run(refused: Refused, folder: Path) -> None:
    assert refused("fork", "none", "--in-process") == "none: is not a run directory: there is no such directory"
    assert refused("fork", ".", "--in-process") == ".: is not a run directory: it holds no run.json"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--step", "7"], f"step 7: bowl {THERE}"),
        (["--step", "-1"], f"step -1: bowl {THERE}"),
        (["dynamics.lrr=1"], "unknown key dynamics.lrr; did you mean dynamics.lr?"),
        (["dynamics.lr=0"], "dynamics.lr = 0: must be greater than 0"),
        (["steps"], "steps: an override is written key=value"),
        (["steps=5"], "steps = 5: must be at least 6, where the fork begins"),
        (["--step", "3", "steps=2", "schedule=[]"], "steps = 2: must be at least 3, where the fork begins"),
        (["schedule=[{at: 2, set: {steps: 8}}]"], "schedule.0.at = 2: must be at least 6, where it begins"),
        (["walkers=3"], "walkers = 3: must be at most 2, as many as go on from there"),
        (["walkers=0"], "walkers = 0: must be at least 1"),
        (["walkers=1"], "curvature.of = w1: must be of center, w0"),
        (["landscape.dim=4"], SIZE.format(4)),
        (["coupling.alpha=2"], "coupling.alpha = 2: must be greater than -1 and less than 1"),
        (["--run-dir", "bowl"], "run directory {absolute}: is not empty: name one that is, or that does not exist"),
        (["--step", "a"], "argument --step: invalid int value: 'a' (see walkers fork --help)"),
    ],
)  # fmt: skip
def test_fork(refused: Refused, run: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = line.replace("{absolute}", str(run.absolute()))
    if "a" in words:  # argparse leaves by itself
        with pytest.raises(SystemExit, match="2"):
            refused("fork", run, *words)
        assert capsys.readouterr().err == f"walkers: {expected}\n"
        return
    assert refused("fork", run, *words, "--in-process") == expected


def test_fork_of_damaged_files(refused: Refused, run: Path) -> None:
    for kind in ("checkpoints", "snapshots"):
        for part in run.glob(f"{kind}/step-*/coordinator.safetensors"):
            part.write_bytes(part.read_bytes()[:-1])
    assert refused("fork", run, "--in-process").startswith("bowl: every checkpoint is damaged: bowl/checkpoints/")
    said = refused("fork", run, "--step", "4", "--in-process")
    assert said.startswith("bowl/checkpoints/step-00000004/coordinator.safetensors: is damaged") and "; " in said
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(run / "snapshots")
    line = "step 0: bowl has no checkpoint and no snapshot of it; there are checkpoints none and snapshots none"
    assert refused("fork", run, "--in-process") == line
    (run / "config.yaml").unlink()
    assert "config.yaml: No such file or directory" in refused("report", run)


def test_fork_over_processes_is_refused_in_the_same_line(run: Path, nothing_is_made: Callable[..., str]) -> None:
    said = nothing_is_made(lambda: wd.fork(run, overrides=["walkers=3"], in_process=False, report=False))
    assert said == "walkers = 3: must be at most 2, as many as go on from there"
    said = nothing_is_made(lambda: wd.fork(run, overrides=["landscape.dim=4"], in_process=False, report=False))
    assert said == SIZE.format(4)


# ---- midpoint ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("between", "step", "overrides", "line"),
    [
        (("w0", "w2"), None, [], "between = w2: must be of center, w0, w1"),
        (("w0", "w0"), None, [], "between = [w0, w0]: must hold each name once"),
        (("w0", "w1"), 9, [], "step 9: bowl has no snapshot of it; there are 0, 1, 2, 3, 4, 5, 6"),
        (("w0", "w1"), None, ["walkers=2"], "walkers = 2: must be 1, the walker that begins at the midpoint"),
        (("w0", "w1"), None, ["stepz=2"], "unknown key stepz; did you mean steps?"),
        (("w0", "w1"), None, ["landscape.dim=2"], SIZE.format(2)),
    ],
)  # fmt: skip
def test_midpoint(
    run: Path,
    nothing_is_made: Callable[..., str],
    between: tuple[str, str],
    step: int | None,
    overrides: list[str],
    line: str,
) -> None:
    assert nothing_is_made(lambda: wd.midpoint(run, *between, step, overrides, report=False)) == line


def test_midpoint_without_snapshots(run: Path, nothing_is_made: Callable[..., str]) -> None:
    shutil.rmtree(run / "snapshots")
    assert nothing_is_made(lambda: wd.midpoint(run, "w0", "w1", report=False)) == "bowl has no snapshot; there are none"
    assert nothing_is_made(lambda: wd.midpoint("none", "w0", "w1")).startswith("none: is not a run directory")
