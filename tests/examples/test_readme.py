"""What README.md shows is what runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import walkers_dist as wd

HERE = Path(__file__).parent
README = (HERE.parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def examples(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    yield
    for module in ("my_diloco", "my_data", "my_nets"):
        sys.modules.pop(module, None)


def test_the_coupling_of_the_readme_is_the_one_that_runs():
    code = (HERE / "my_diloco.py").read_text(encoding="utf-8")
    assert code in blocks("python")
    assert len(code.splitlines()) < 80


def diloco(name: str, folder: Path, **keys: object) -> wd.Run:
    quadratic = {"kind": "quadratic", "start": 1.0, "center_start": 1.0, "noise": 0.1}
    experiment = {
        "name": "outside", "dtype": "float64", "walkers": 3, "steps": 50, "analysts": 0, "landscape": quadratic,
        "dynamics": {"name": "sgd", "lr": 0.1, "momentum": 0.0, "batch_size": None},
        "coupling": {"name": name, "period": 10}, "checkpoint": {"every": 25},
    }  # fmt: skip
    return wd.run({**experiment, **keys}, run_dir=folder / name.replace(":", "-"), report=False)


def test_a_coupling_from_outside_the_package_is_like_one_from_within(examples, tmp_path):
    """C8 of the specification without noise; with it, and after a resume in the middle, the package's own."""
    still = {"kind": "quadratic", "start": 1.0}
    theirs = diloco("my_diloco:DiLoCo", tmp_path / "still", landscape=still)
    assert theirs.snapshot(50, "center").item() == pytest.approx(-0.0703511484, abs=1e-8)
    theirs, ours = diloco("my_diloco:DiLoCo", tmp_path), diloco("diloco", tmp_path)
    for name in ("center", "w0", "w1", "w2"):
        assert theirs.snapshot(50, name).item() == pytest.approx(ours.snapshot(50, name).item(), abs=1e-14)
    resumed = [wd.resume(run, ["steps=75"], report=False) for run in (theirs, ours)]
    theirs, ours = (run.snapshot(75, "center").item() for run in resumed)
    assert theirs == pytest.approx(ours, abs=1e-14)


def test_the_notebook_lines_of_the_readme(tmp_path, monkeypatch):
    (code,) = [block for block in blocks("python") if "wd.run(" in block]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(HERE.parent.parent / "configs")
    exec(compile(code, "README.md", "exec"), {})


def test_the_configuration_of_the_readme_runs(examples, tmp_path):
    (text,) = [block for block in blocks("yaml") if "landscape:" in block]
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    overrides = ["steps=60", "schedule.0.at=30", "curvature.every=30", "curvature.top=2", "curvature.bottom=1"]
    run = wd.run(tmp_path / "mine.yaml", overrides, run_dir=tmp_path / "run", report=False)
    assert run.config.walkers == 8
    assert list(run.events.key) == ["dynamics.lr"]
    assert set(run.eigenvalues.walker) == {"center", "w0"}
    losses = run.results[run.results.walker == "center"].train_loss
    assert losses.iloc[-1] < losses.iloc[0]
