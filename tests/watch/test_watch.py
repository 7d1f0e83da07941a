"""`walkers watch`: what it reads as the tables grow, and what it shows in terminals of different widths."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

import walkers_dist as wd
from walkers_dist.cli import main
from walkers_dist.records import run_directory
from walkers_dist.records.tail import Tail
from walkers_dist.watch.following import HISTORY, Curve, Follower
from walkers_dist.watch.screen import TICKS, screen, sparkline

BOWL = {
    "landscape": {"kind": "quadratic", "dim": 3, "noise": 0.1, "start": 1.0},
    "walkers": 3,
    "steps": 40,
    "probes": {"distances": {"every": 10}},
    "curvature": {"every": 20, "top": 2, "bottom": 1, "full": "never"},
    "coupling": {"name": "easgd", "alpha": 0.1, "period": 2},
    "dynamics": {"name": "sgd", "lr": 0.1, "batch_size": 1},
    "schedule": [{"at": 20, "set": {"dynamics.lr": 0.05}}],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wd.run({"name": "bowl", **BOWL}, run_dir=tmp_path_factory.mktemp("runs") / "bowl").path


def shown(run: Path, width: int) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    console.print(screen(Follower(run_directory.open(run)).look(), width))
    return console.export_text().splitlines()


def test_the_state_is_that_of_the_tables(finished: Path) -> None:
    state, run = Follower(run_directory.open(finished)).look(), wd.open_run(finished)
    last = run.results[run.results["step"] == 40].set_index("walker")
    assert (state.status, state.step, state.steps, state.has_ended) == ("done", 40, 40, True)
    assert list(state.walkers) == ["center", "w0", "w1", "w2"]
    assert {name: float(row["train_loss"]) for name, row in state.walkers.items()} == last["train_loss"].to_dict()
    losses = run.results[run.results["walker"] == "w1"]["train_loss"].tolist()
    assert state.curves["w1"].values == losses
    assert {row["step"] for row in state.distances} == {"40"}
    assert len(state.distances) == (run.distances["step"] == 40).sum()
    edges = run.eigenvalues[(run.eigenvalues["step"] == 40) & (run.eigenvalues["walker"] == "w0")]
    found = [float(row["eigenvalue"]) for row in state.spectra["w0", "hessian"]]
    assert found == edges["eigenvalue"].tolist()
    assert [row["key"] for row in state.events] == ["dynamics.lr"]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_screen_fits_its_terminal(finished: Path, width: int) -> None:
    lines = shown(finished, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for word in ("bowl", "done", "step 40 of 40", "walker", "center", "w2", "distances", "hessian", "dynamics.lr"):
        assert word in text, text
    row = wd.open_run(finished).results.query("step == 40 and walker == 'w2'").iloc[0]
    assert f"{row['train_loss']:.4g}" in next(line for line in lines if line.startswith("w2"))


def test_a_wide_terminal_shows_more(finished: Path) -> None:
    assert "|grad|" in "\n".join(shown(finished, 200)) and "|grad|" not in "\n".join(shown(finished, 80))


def test_many_walkers_are_cut_and_counted(tmp_path: Path) -> None:
    keys = {**BOWL, "walkers": 40, "steps": 3, "schedule": [], "curvature": None}
    run = wd.run({"name": "many", **keys}, run_dir=tmp_path / "many")
    assert "and 25 more" in "\n".join(shown(run.path, 80))  # 40 walkers and the center


def test_a_table_is_read_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    tail = Tail(path)
    assert list(tail.look()[1]) == []
    path.write_text("step,a\n0,x\n1,y")
    assert list(tail.look()[1]) == [{"step": "0", "a": "x"}]  # the torn line is not there yet
    path.write_text("step,a\n0,x\n1,yes\n2,z\n")
    assert list(tail.look()[1]) == [{"step": "1", "a": "yes"}, {"step": "2", "a": "z"}]


def test_a_table_cut_by_a_resume_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("step,a\n0,x\n1,y\n2,z\n")
    tail = Tail(path)
    again, rows = tail.look()
    assert not again and len(list(rows)) == 3
    path.write_text("step,a\n0,x\n1,v\n2,w\n3,u\n")
    again, rows = tail.look()
    assert again and [row["a"] for row in rows] == ["x", "v", "w", "u"]


def test_a_run_that_is_resumed_is_followed_from_where_it_begins_again(tmp_path: Path) -> None:
    run = wd.run({"name": "bowl", **BOWL}, ["checkpoint.every=20"], run_dir=tmp_path / "bowl")
    follower = Follower(run_directory.open(run.path))
    before = follower.look().curves["w0"].values
    wd.resume(run, ["steps=60"])
    state = follower.look()
    losses = wd.open_run(run.path).results.query("walker == 'w0'")["train_loss"].tolist()
    assert len(before) < len(losses) and state.curves["w0"].values == losses and state.steps == 60


def test_a_long_curve_is_thinned_evenly() -> None:
    curve = Curve()
    for i in range(10 * HISTORY):
        curve.add(float(i))
    steps = {b - a for a, b in zip(curve.values, curve.values[1:], strict=False)}
    assert len(curve.values) <= HISTORY and len(steps) == 1


def test_a_sparkline_is_monotone_in_its_values() -> None:
    assert sparkline([1.0, 10.0, 100.0, 1000.0], 10) == TICKS[0] + TICKS[2] + TICKS[5] + TICKS[7]  # logarithmic
    assert sparkline([-1.0, 0.0, 1.0], 10) == TICKS[0] + TICKS[4] + TICKS[7]
    assert sparkline([1.0, float("nan"), 1.0], 10) == TICKS[0] + "×" + TICKS[0]
    assert len(sparkline([float(i) for i in range(100)], 20)) == 20 and sparkline([], 5) == ""


def test_without_a_terminal_no_control_character_is_written(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["watch", str(finished)]) == 0
    out = capsys.readouterr().out
    assert "done" in out and not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out)


@pytest.mark.parametrize("columns", [80, 200])
def test_in_a_terminal_it_follows_a_run_to_its_end(tmp_path: Path, columns: int) -> None:
    (tmp_path / "bowl.yaml").write_text(json.dumps({**BOWL, "steps": 3000, "curvature": None}))
    command = [sys.executable, "-m", "walkers_dist", "run", "bowl.yaml", "--run-dir", "bowl", "--no-report"]
    with subprocess.Popen([*command, "--in-process"], cwd=tmp_path, stdout=subprocess.DEVNULL) as training:
        deadline = time.monotonic() + 60
        while not (tmp_path / "bowl" / "results.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        master, slave = pty.openpty()
        watching = subprocess.Popen(
            [sys.executable, "-m", "walkers_dist", "watch", "bowl", "--every", "0.1"],
            cwd=tmp_path,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "40"},
        )
        os.close(slave)
        seen = b""
        while watching.poll() is None and time.monotonic() < deadline + 60:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    seen += os.read(master, 65536)
                except OSError:  # the other end is closed
                    break
        assert watching.wait(30) == 0 and training.wait(60) == 0
    os.close(master)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode(errors="replace"))
    assert "running" in text and "step 3,000 of 3,000" in text and "Traceback" not in text
    assert max(map(len, re.split(r"[\r\n]+", text))) <= columns


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["watch", "nowhere"], "nowhere"),
        (["watch"], "RUN"),
        (["watch", "{run}", "--every", "0"], "--every 0"),
        (["watch", "{run}", "--every", "often"], "--every"),
        (["watch", "{run}", "steps=3"], "steps=3"),
    ],
)
def test_wrong_words_are_one_line(
    finished: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main([word.format(run=finished) for word in words])
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    err = capsys.readouterr().err
    assert code == 2 and said in err and err.count("\n") == 1
