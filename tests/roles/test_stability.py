"""An unstable coupling is warned of where the curvature is known: by the analyst, or by an estimate of `--dry-run`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

import walkers_dist as wd
from walkers_dist import cli
from walkers_dist.config.load import parse
from walkers_dist.landscape import build
from walkers_dist.records import run_directory
from walkers_dist.records.tables import COLUMNS
from walkers_dist.roles import stability
from walkers_dist.roles.stability import Curvature

NET = {
    "name": "net", "walkers": 2, "steps": 4, "snapshots": {"every": 2}, "checkpoint": {"every": 2},
    "landscape": {"model": {"hidden": [4]}, "data": {"train_size": 200}},
    "dynamics": {"momentum": 0.0, "lr": 0.01},
    "coupling": {"name": "easgd", "alpha": 0.9, "period": 1},
    "curvature": {"every": 2, "of": ["center", "w0"], "top": 1, "bottom": 1, "full": "never"},
}  # fmt: skip


def file(folder: Path, **keys: object) -> str:
    path = folder / "net.yaml"
    path.write_text(yaml.safe_dump({**NET, **keys}))
    return str(path)


def top_at_start(**keys: object) -> float:
    """The largest eigenvalue at the start of w0, of the whole dense matrix."""
    experiment = parse({**NET, **keys}, "net")
    landscape = build(experiment.landscape, seed=experiment.seed, dtype="float64")
    theta = landscape.start("w0")
    return float(torch.linalg.eigvalsh(landscape.hvp(theta, torch.eye(len(theta), dtype=torch.float64)))[-1])


def test_dry_run_estimates_and_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", file(tmp_path), "--dry-run"]) == 0
    said = capsys.readouterr()
    h = float(said.out.split("largest curvature: ")[1].split(",")[0])
    assert h == pytest.approx(top_at_start(), rel=0.01)
    bound = (4 - 2 * 0.01 * h) / (2 * 3 - 0.01 * h * 2)
    line = said.err.strip()
    assert line.startswith("warning: coupling.alpha=0.9 is outside the stable range with lr=0.01, walkers p=2 and")
    assert " (estimated at the start of w0): 0 < alpha < " in line
    assert float(line.split("curvature h=")[1].split(" ")[0]) == pytest.approx(h, rel=0.01)
    assert float(line.split("0 < alpha < ")[1].split(" ")[0]) == pytest.approx(bound, rel=0.01)


@pytest.mark.parametrize(
    ("word", "estimated"),
    [
        ("coupling.alpha=0.1", True),  # stable
        ("dynamics.momentum=0.5", False),  # no bound is known
        ("dynamics={name: nesterov, lr: 0.01, momentum: 0.5}", True),
        ("dynamics.name=adamw", False),
        ("coupling=null", False),
        ("landscape={kind: quadratic}", False),  # its curvature is no estimate
    ],
)
def test_dry_run_estimates_where_there_is_a_bound(
    word: str, estimated: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", file(tmp_path), "--dry-run", word, "curvature=null"]) == 0
    said = capsys.readouterr()
    assert ("largest curvature" in said.out) is estimated
    unstable = word.startswith(("landscape", "dynamics={name: nesterov"))
    assert ("warning" in said.err) is unstable


def test_an_estimate_on_a_part_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = parse(NET, "net")
    landscape = build(experiment.landscape, seed=experiment.seed, dtype="float64")
    monkeypatch.setattr(stability, "SAMPLES", 50)
    assert stability.estimated(landscape).h == pytest.approx(top_at_start(), rel=0.5)


def test_the_analyst_and_a_resume_warn_by_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = wd.run(NET, run_dir=tmp_path / "run", report=False)
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1 and "(at " in warnings[0] and "in step 0)" in warnings[0]
    tops = run.eigenvalues.query("step == 4 and side == 'top'")
    h, walker = tops["eigenvalue"].max(), tops.loc[tops["eigenvalue"].idxmax(), "walker"]
    assert stability.measured(run_directory.open(run.path)) == Curvature(h, f"at {walker} in step 4")
    wd.resume(run, ["steps=6"], report=False)
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert f"curvature h={h:g} (at {walker} in step 4): 0 < alpha < " in warnings[0]


def test_a_fork_warns_by_what_was_measured_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = wd.run({**NET, "coupling": {"alpha": 0.1}}, run_dir=tmp_path / "run", report=False)
    assert "warning" not in capsys.readouterr().err
    wd.fork(run, 2, ["coupling.alpha=0.9", "coupling.period=1", "curvature=null"], report=False)
    err = capsys.readouterr().err
    assert "warning: coupling.alpha=0.9" in err and "in step 2)" in err


def test_what_was_measured(tmp_path: Path) -> None:
    run = run_directory.RunDirectory(tmp_path)
    assert stability.measured(run) is None
    rows = [
        "0,w0,hessian,top,1,9.5,0.1",
        "0,w0,hessian,top,2,99.0,0.1",
        "10,center,hessian,top,1,2.5,0.1",
        "10,center,ggn,top,1,70,0.1",
        "10,w0,hessian,bottom,1,80,0.1",
        "10,w0,hessian,full,1,3.5,",
        "10,w1,hessian,top,1,nan,0.1",
    ]
    run.table("eigenvalues").write_text("\n".join([",".join(COLUMNS["eigenvalues"]), *rows, ""]))
    assert stability.measured(run) == Curvature(3.5, "at w0 in step 10")
    assert stability.measured(run, 9) == Curvature(9.5, "at w0 in step 0")
