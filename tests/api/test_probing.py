"""Probes of a run that has ended: the same rows as its analyst makes, merged into its tables in order of steps."""

from __future__ import annotations

import pandas as pd
import pytest

import walkers_dist as wd
from walkers_dist.cli import main
from walkers_dist.records.run_directory import RunDirectory

CONFIG = {
    "name": "probed",
    "dtype": "float64",
    "landscape": {
        "data": {"name": "digits", "train_size": 60, "test_size": 40},
        "model": {"name": "mlp", "hidden": [4]},
    },
    "walkers": 2,
    "steps": 20,
    "dynamics": {"name": "sgd", "batch_size": 20},
    "coupling": {"name": "easgd", "alpha": 0.05},
    "log": {"every": 5},
    "snapshots": {"every": 5},
}
PROBES = {"interpolation": {"every": 10, "points": 5}, "distances": {"every": 10}}


@pytest.fixture(scope="module")
def probed_live(tmp_path_factory):
    return wd.run({**CONFIG, "probes": PROBES}, run_dir=tmp_path_factory.mktemp("live") / "run", report=False)


@pytest.fixture
def run(tmp_path):
    return wd.run(CONFIG, run_dir=tmp_path / "run", report=False)


def test_late_rows_are_those_of_an_analyst(probed_live, run):
    wd.probe(run, "interpolation", ["points=5"], steps=[0, 10, 20])
    wd.probe(run, "distances", steps=[0, 10, 20])
    pd.testing.assert_frame_equal(run.interpolations, probed_live.interpolations)
    pd.testing.assert_frame_equal(run.distances, probed_live.distances, rtol=1e-12)


def test_the_order_in_which_they_come_does_not_matter(run, probed_live):
    for step in (20, 0, 10):
        wd.probe(run, "interpolation", ["points=5"], steps=[step])
    pd.testing.assert_frame_equal(run.interpolations, probed_live.interpolations)


def test_an_equal_measurement_takes_the_place_of_the_one_before_and_another_joins_it(run):
    for words in (["points=5"], ["points=3"], ["points=4", "path=linear"]):
        wd.probe(run, "interpolation", words)
    assert run.interpolations.groupby("path").size().to_dict() == {"spherical": 3 * 3, "linear": 3 * 4}


def test_what_is_not_said_is_as_in_the_run(probed_live, tmp_path):
    again = wd.run({**CONFIG, "probes": PROBES}, run_dir=tmp_path / "again", report=False)
    wd.probe(again, "interpolation", steps="all")
    assert sorted(set(again.interpolations["step"])) == [0, 5, 10, 15, 20]
    assert set(again.interpolations.groupby(["step", "a", "b"]).size()) == {5}


def test_a_resume_keeps_late_rows_before_its_checkpoint(tmp_path):
    """And makes the analyst's own ones after it; nothing is cut within a row."""
    keys = {**CONFIG, "probes": {"interpolation": {"every": 10, "points": 5}}, "checkpoint": {"every": 15}}
    run = wd.run(keys, run_dir=tmp_path / "run", report=False)
    wd.probe(run, "interpolation", ["points=3", "path=linear"], steps=[5, 20])
    for part in (run.path / "checkpoints" / "step-00000020").iterdir():
        part.write_bytes(b"damaged")
    run = wd.resume(run, report=False)
    found = run.interpolations.groupby(["step", "path"]).size().to_dict()
    assert found == {(0, "spherical"): 15, (5, "linear"): 9, (10, "spherical"): 15, (20, "spherical"): 15}


def test_by_the_command(run, capsys):
    assert main(["probe", str(run.path), "interpolate", "points=3", "--path", "slerp", "--steps", "5,10"]) == 0
    assert run.interpolations.groupby("step").size().to_dict() == {5: 9, 10: 9}
    assert set(run.interpolations["path"]) == {"slerp"}
    assert capsys.readouterr().out.splitlines()[-1] == str(run.path / "report.html")


REFUSED = [
    (["interpolate", "point=3"], "unknown key probes.interpolation.point"),
    (["interpolate", "points=1"], "probes.interpolation.points = 1: must be"),
    (["interpolate", "path=round"], "probes.interpolation.path = round: must be"),
    (["interpolate", "--steps", "7"], "steps = 7: has no snapshot; there are 0, 5, 10, 15, 20"),
    (["interpolate", "--steps", "first"], "--steps first: must be last, all, or steps like 0,100"),
    (["interpolate", "--points"], "--points: its value is missing"),
    (["interpolate", "--between", "w0", "w1"], "--between w0 w1: belongs to midpoint alone"),
    (["plain"], "plain: is no probe; there are distances, interpolation, plane, walk, sharpness, average"),
    (["midpoint"], "--between: must name two points"),
    (["plane", "through=[center,w0,w7]"], "probes.plane.through = w7: must be of center, w0, w1"),
]


@pytest.mark.parametrize(("words", "line"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_is_refused(words, line, probed_live, capsys):
    before = {path: path.stat().st_mtime_ns for path in probed_live.path.glob("*.csv")}
    assert main(["probe", str(probed_live.path), *words, "--no-report"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"walkers: {line}") and said.count("\n") == 1
    assert before == {path: path.stat().st_mtime_ns for path in probed_live.path.glob("*.csv")}


def test_a_run_that_goes_on_is_refused(run, capsys):
    living = RunDirectory(run.path)
    living.claim()
    try:
        assert main(["probe", str(run.path), "interpolate", "--no-report"]) == 2
    finally:
        living.release()
    assert "in use by" in capsys.readouterr().err
    assert not (run.path / "interpolations.csv").exists()
