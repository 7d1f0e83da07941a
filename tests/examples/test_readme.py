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
    for module in ("halfway", "my_data", "my_nets"):
        sys.modules.pop(module, None)


def test_the_coupling_of_the_readme_is_the_one_that_runs():
    code = (HERE / "halfway.py").read_text(encoding="utf-8")
    assert any(block.strip() and block.strip() in code for block in blocks("python") if "class Halfway" in block)


def test_a_coupling_from_outside_the_package(examples, tmp_path):
    quadratic = {"kind": "quadratic", "start": [1.0, 2.0, 3.0], "center_start": 0.0}
    run = wd.run(
        {
            "name": "outside", "dtype": "float64", "walkers": 3, "steps": 2, "analysts": 0, "landscape": quadratic,
            "dynamics": {"name": "sgd", "lr": 0.1, "momentum": 0.0, "batch_size": None},
            "coupling": {"name": "halfway:Halfway", "period": 2},
        },
        run_dir=tmp_path / "run",
        report=False,
    )  # fmt: skip
    moved = [0.81 * x for x in (1.0, 2.0, 3.0)]  # two steps of x <- 0.9 x, then halfway to the center at 0
    for name, x in zip(("w0", "w1", "w2"), moved, strict=True):
        assert run.snapshot(2, name).item() == pytest.approx(x / 2, abs=1e-15)
    assert run.snapshot(2, "center").item() == pytest.approx(sum(moved) / 3, abs=1e-15)


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
