"""`walkers compare` and `Runs.compare`: several runs in one table."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import walkers_dist as wd
from walkers_dist import cli
from walkers_dist.api.columns import aligned, escaped, latex
from walkers_dist.api.comparing import shown
from walkers_dist.api.opened import runs_of
from walkers_dist.records.tables import read_rows

DIGITS: dict[str, Any] = {
    "name": "digits",
    "landscape": {"data": {"train_size": 60, "test_size": 30}, "model": {"name": "mlp", "hidden": [3]}},
    "walkers": 2,
    "steps": 4,
    "dynamics": {"batch_size": 20},
    "coupling": {"name": "easgd"},
    "log": {"every": 2},
    "analysts": 0,
}
RUNS = {
    "a": {"seed": 1},
    "b": {"seed": 2, "dynamics": {"batch_size": 20, "lr": 0.01}},
    "c": {"seed": 3, "coupling": None, "walkers": 1},
    "d": {"seed": 4, "steps": 6},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs")
    for name, changes in RUNS.items():
        wd.run({**DIGITS, **changes}, run_dir=path / name, report=False)
    return path


@pytest.fixture
def runs(folder: Path) -> wd.Runs:
    return wd.runs(f"{folder}/*")


def end(folder: Path, name: str) -> list[dict[str, str]]:
    rows = read_rows(folder / name / "results.csv")
    return [row for row in rows if row["step"] == rows[-1]["step"]]


def test_one_row_per_run(runs: wd.Runs, folder: Path) -> None:
    """Its keys are those in which the configurations differ, its figures those of the last step."""
    frame = runs.compare()
    assert frame["run"].tolist() == [*RUNS] and frame["seed"].tolist() == [1, 2, 3, 4]
    keys = frame.columns[2 : frame.columns.get_loc("step")].tolist()
    coupled = [f"coupling.{key}" for key in ("name", "period", "alpha", "order", "center")]
    assert keys == ["walkers", "steps", "dynamics.lr", *coupled]
    assert frame["dynamics.lr"].tolist() == [0.1, 0.01, 0.1, 0.1] and frame["step"].tolist() == [4, 4, 4, 6]
    for row in frame.to_dict("records"):
        rows = end(folder, row["run"])
        walkers = [row for row in rows if row["walker"] != "center"]
        for column in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
            assert row[column] == float(rows[0][column])  # the center, or the one walker that there is
        losses = [float(walker["train_loss"]) for walker in walkers]
        assert row["mean_train_loss"] == pytest.approx(sum(losses) / len(losses))
        assert row["best_train_loss"] == min(losses)
        assert row["best_test_accuracy"] == max(float(walker["test_accuracy"]) for walker in walkers)


def test_grouped_by_a_key(runs: wd.Runs, folder: Path) -> None:
    frame = runs.compare(by="dynamics.lr")
    assert frame["dynamics.lr"].tolist() == [0.01, 0.1] and frame["runs"].tolist() == [1, 3]
    losses = [float(end(folder, name)[0]["test_loss"]) for name in "acd"]
    assert frame["test_loss"][1] == pytest.approx(statistics.mean(losses))
    assert frame["test_loss_std"][1] == pytest.approx(statistics.stdev(losses))
    assert math.isnan(frame["test_loss_std"][0])
    said = shown(frame).splitlines()[2]
    assert f"{statistics.mean(losses):.4g} ± {statistics.stdev(losses):.2g}" in said


@pytest.mark.parametrize(
    ("by", "values"),
    [
        ("steps", [4, 6]),
        ("coupling.name", ["easgd", "none"]),
        ("coupling.alpha", [0.1, None]),  # numbers come before nothing
        ("landscape.model.hidden", ["[3]"]),
    ],
)
def test_groups_come_in_the_order_of_their_values(runs: wd.Runs, by: str, values: list[object]) -> None:
    found = runs.compare(by=by)[by].astype(object)
    assert [None if pd.isna(value) else value for value in found] == values


def test_figures_that_no_run_has_are_no_columns(tmp_path: Path) -> None:
    """And one that has diverged stays."""
    bowl = {"landscape": {"kind": "quadratic"}, "walkers": 2, "steps": 1}
    run = wd.run(bowl, run_dir=tmp_path / "bowl", report=False)
    frame = wd.Runs([run]).compare()
    assert "test_loss" not in frame and "mean_train_loss" in frame
    table = run.directory.table("results")
    table.write_text(table.read_text() + "2,,center,0.1,nan,nan,nan,,,,,1\n2,,w0,0.1,nan,nan,nan,,,,,1\n")
    header, line = shown(wd.Runs([run]).compare()).splitlines()
    assert header.split() == ["run", "seed", "step", "train_loss", "mean_train_loss", "best_train_loss"]
    assert line.split() == ["bowl", "0", "2", "nan", "nan", "nan"]


def test_runs_are_named_by_folders_and_patterns(folder: Path) -> None:
    found = runs_of([str(folder / "c"), f"{folder}/[ab]", str(folder / "a")])
    assert [run.path.name for run in found] == ["c", "a", "b"]


def test_the_command_prints_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", f"{folder}/a", f"{folder}/[bd]"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:5] == ["run", "seed", "steps", "dynamics.lr", "step"]
    assert [line.split()[:5] for line in lines] == [
        ["a", "1", "4", "0.1", "4"], ["b", "2", "4", "0.01", "4"], ["d", "4", "6", "0.1", "6"],
    ]  # fmt: skip
    assert cli.main(["compare", f"{folder}/*", "--by", "steps", "--latex"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(r"\begin{tabular}{r") and said[2].startswith(r"  steps & runs & step & train\_loss &")
    assert r"$\pm$" in said[4] and r"$\pm$" not in said[5] and said[-1] == r"\end{tabular}"


def test_latex_is_a_tabular_with_rules_of_booktabs() -> None:
    assert (
        latex(["run", "a_b"], [["x & 50% #1", "1 ± 0.1"], [r"{c:\~^$}", "-"]])
        == r"""
\begin{tabular}{lr}
  \toprule
  run & a\_b \\
  \midrule
  x \& 50\% \#1 & 1 $\pm$ 0.1 \\
  \{c:\textbackslash{}\textasciitilde{}\textasciicircum{}\$\} & - \\
  \bottomrule
\end{tabular}
""".strip()
    )


def test_no_special_character_is_left_as_it_is() -> None:
    assert escaped("&%$#_{}") == r"\&\%\$\#\_\{\}"


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    assert aligned(["word", "n"], [["a", "1"], ["abcdef", "-10.5"]]) == "word        n\na           1\nabcdef  -10.5"
