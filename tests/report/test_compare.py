"""The page of several runs, and the command that draws it."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from walkers_dist.api.opened import open_run
from walkers_dist.cli import main
from walkers_dist.report import write_comparison
from walkers_dist.report.compare import labels, main_curve

Make = Callable[..., Path]


def page_of(runs: list[Path], page: Path) -> str:
    write_comparison([open_run(run) for run in runs], page)
    return page.read_text(encoding="utf-8")


def rows_of(text: str) -> list[list[str]]:
    """Cells of the table, numbers with all their digits."""
    exact = re.sub(r'<data value="([^"]*)">[^<]*</data>', r"\1", text)
    rows = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", exact)]
    return [[re.sub(r"<[^>]*>", "", cell) for cell in row] for row in rows]


def test_the_table_says_what_differs_and_where_each_run_ended(make_run: Make, tmp_path: Path) -> None:
    a, b = make_run(walkers=3, name="first"), make_run(walkers=2, steps=300, name="second", info={"status": "failed"})
    head, *rows = rows_of(page_of([a, b], tmp_path / "out.html"))
    figures = ["training loss", "training accuracy", "test loss", "test accuracy"]
    assert head == ["run", "status", "step", "seed", *figures, "walkers", "steps"]
    for run, row, status, own in ((a, rows[0], "done", ["3", "600"]), (b, rows[1], "failed", ["2", "300"])):
        with (run / "results.csv").open() as file:
            last = [line for line in csv.DictReader(file) if line["walker"] == "center"][-1]
        assert row[:4] == [run.name, status, last["step"], "0"] and row[8:] == own
        columns = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
        assert [float(cell) for cell in row[4:8]] == [float(last[column]) for column in columns]  # every bit


def test_every_picture_has_a_curve_per_run(make_run: Make, tmp_path: Path) -> None:
    runs = [make_run(name=name) for name in ("one", "two", "three")]
    text = page_of(runs, tmp_path / "out.html")
    assert re.findall(r"<figure><h3>([^<]*)</h3>", text) == [
        *("Training loss", "Test loss", "Training accuracy", "Test accuracy"),
        *("Walkers to center", "Largest eigenvalue of the Hessian"),
    ]
    for legend in re.findall(r'<ul class="legend">(.*?)</ul>', text):
        assert [run.name for run in runs] == re.findall(r"</i>([^<]*)</li>", legend)
        assert len(set(re.findall(r"var\(--hue\d\)", legend))) == 3
    assert "://" not in text and text.count('href="#') >= 4
    assert sum(f"var(--hue{i})" in re.findall(r"<svg.*?</svg>", text, re.DOTALL)[0] for i in range(6)) == 3


def test_many_runs_are_a_cloud(make_run: Make, tmp_path: Path) -> None:
    runs = [make_run(walkers=1, steps=20, name=f"run{i}") for i in range(9)]
    text = page_of(runs, tmp_path / "out.html")
    assert text.count("<li>") == text.count("<figure>") and "9 runs" in text
    assert len(rows_of(text)) == 10


def test_what_a_run_lacks_is_left_out_and_said(make_run: Make, tmp_path: Path) -> None:
    full, bare = make_run(name="full"), make_run(name="bare", tables=("results",))
    text = page_of([full, bare], tmp_path / "out.html")
    assert "Not recorded in 1 of 2 runs." in text
    nothing = [make_run(name=name, tables=()) for name in ("empty", "void")]
    text = page_of(nothing, tmp_path / "out.html")
    assert "<svg" not in text and 'id="distances"' not in text and 'href="#distances"' not in text
    assert "No run has a training loss or a test loss" in text and "configurations are the same" in text


def test_words_of_the_runs_are_never_markup(make_run: Make, tmp_path: Path) -> None:
    run = make_run(name="calm")
    evil = run.rename(tmp_path / "<img src=x>$\\frac$")
    text = page_of([evil, make_run(name="other")], tmp_path / "out.html")
    assert "<img" not in text and "&lt;img src=x&gt;" in text


def test_the_main_curve_is_the_center_or_the_mean_of_those_that_are_finite() -> None:
    table = pd.DataFrame(
        {"step": [0, 0, 0, 5, 5], "walker": ["center", "w0", "w1", "w0", "w1"], "train_loss": [9, 1, 3, 4, np.inf]}
    )
    assert main_curve("a", table, "train_loss").y.tolist() == [9]
    mean = main_curve("a", table[table["walker"] != "center"], "train_loss")
    assert (mean.x.tolist(), mean.y.tolist()) == ([0, 5], [2, 4])
    assert not main_curve("a", table.head(0), "train_loss").measured


def test_runs_of_one_name_are_told_apart_by_their_folders() -> None:
    paths = [Path("/x/a/run"), Path("/x/b/run"), Path("/y/b/run"), Path("/y/other")]
    assert labels(paths) == ["a/run", "x/b/run", "y/b/run", "other"]


# ---- the command ------------------------------------------------------------------------------------------------


def test_one_run_is_drawn_into_itself_and_several_into_one_page(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = make_run(steps=20, name="a"), make_run(steps=20, name="b")
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(a)]) == 0
    assert capsys.readouterr().out.split() == [str(a / "report.html")]
    assert main(["report", str(a), f"{a}/"]) == 0  # the same run twice is one
    assert not (tmp_path / "compare.html").exists()
    assert main(["report", str(a), str(b)]) == 0
    assert (tmp_path / "compare.html").is_file()
    assert main(["report", "*-20260301-*", "--out", "both.html"]) == 0
    assert (tmp_path / "both.html").read_text() == (tmp_path / "compare.html").read_text()
    assert main(["report", str(b), "--out", "b.html"]) == 0
    assert (tmp_path / "b.html").is_file() and not (b / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere"], "walkers: nowhere: is not a run directory"),
        (["{a}", "nowhere"], "walkers: nowhere: is not a run directory"),
        (["{a}", "--out", "no/folder/page.html"], "walkers: no/folder/page.html: cannot be written"),
        (["{a}", "{b}", "--out", "."], "walkers: .: cannot be written"),
        (["{a}", "steps=3"], "walkers: steps=3: is not a run directory"),
    ],
)
def test_bad_input_is_one_line(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], line: str,
) -> None:  # fmt: skip
    runs = {"a": make_run(steps=20, name="a"), "b": make_run(steps=20, name="b")}
    monkeypatch.chdir(tmp_path)
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert main(["report", *(word.format(**runs) for word in words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(line) and error.count("\n") == 1
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
