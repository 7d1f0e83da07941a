"""SPEC.md E.2 `train_on_mid_point` and F 29: training one walker from the point half-way between two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import walkers_dist as wd
from walkers_dist.records.index import Entry, Part
from walkers_dist.records.snapshots import snapshot_index, write_snapshot

DIGITS: dict[str, Any] = {
    "name": "pair",
    "landscape": {
        "kind": "network",
        "data": {"name": "digits", "train_size": 500, "test_size": 100},
        "model": {"name": "mlp", "hidden": [32, 32]},
    },
    "walkers": 2,
    "steps": 300,
    "dtype": "float64",
    "dynamics": {"name": "sgd", "lr": 0.1, "momentum": 0.5, "batch_size": 10},
    "coupling": {"name": "none", "center": "gd"},
    "schedule": [{"at": 200, "set": {"dynamics.lr": 0.05}}],
    "stop": {"metric": "train_loss", "of": "center", "below": 1e-9},
    "log": {"every": 100},
    "snapshots": {"every": 100},
    "probes": {"distances": {"every": 300}, "interpolation": {"every": 300, "points": 2}},
    "curvature": {"every": 300, "of": ["center", "w1"], "top": 1, "bottom": 0, "full": "never"},
}
"""D11's pair: a center that descends on all the data, and walkers from the same start on minibatches of 10."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> wd.Run:
    return wd.run(DIGITS, run_dir=tmp_path_factory.mktemp("runs") / "pair", report=False)


def spherical_midpoint(a: Tensor, b: Tensor) -> Tensor:
    """The direction of the mean, at the mean of the norms."""
    mean = (a + b) / 2
    return mean / mean.norm() * (a.norm() + b.norm()) / 2


@pytest.mark.parametrize("between", [("center", "w0"), ("w0", "w1")])
def test_f29_it_begins_at_the_spherical_midpoint_and_the_loss_does_not_increase(
    pair: wd.Run, between: tuple[str, str]
) -> None:
    run = wd.midpoint(pair, *between, report=False)
    a, b = (pair.snapshot(300, name) for name in between)
    x = spherical_midpoint(a, b)
    assert torch.allclose(run.snapshot(0, "w0"), x, rtol=1e-14, atol=0)
    results = run.results
    assert results["walker"].unique().tolist() == ["w0"] and results["step"].tolist() == [0, 100, 200, 300]
    first = results.iloc[0]
    assert first["train_loss"] == pytest.approx(float(pair.landscape.loss(x[None])), rel=1e-12)
    assert first["test_loss"] == pytest.approx(float(pair.landscape.loss(x[None], split="test")), rel=1e-12)
    assert first["norm"] == pytest.approx(float(a.norm() + b.norm()) / 2, rel=1e-12)
    assert (results["train_loss"].iloc[1:] <= first["train_loss"]).all()


def test_e3_the_midpoint_has_the_printed_digits(here: Path) -> None:
    """[3, 4] and [0, 2] at 1/2 -> (1.5652475842, 3.1304951685)."""
    bowl = {"landscape": {"kind": "quadratic", "dim": 2}, "walkers": 2, "steps": 0, "dtype": "float64"}
    parent = wd.run(bowl, run_dir=here / "bowl", report=False)
    points = {"w0": torch.tensor([3.0, 4.0]).double(), "w1": torch.tensor([0.0, 2.0]).double()}
    digest = write_snapshot(parent.directory, 0, "walkers 0-1", points)
    snapshot_index(parent.directory).replace([Entry(0, {"walkers-0-1.safetensors": Part(digest, ("w0", "w1"))}, True)])
    run = wd.midpoint(parent, "w0", "w1", report=False)
    assert run.snapshot(0, "w0").tolist() == pytest.approx([1.5652475842, 3.1304951685], abs=5e-11)


def test_it_is_a_run_of_one_walker_with_the_keys_of_its_parent(pair: wd.Run) -> None:
    """As they were at the step; what speaks of other points, or of later steps, is left out."""
    run = wd.midpoint(pair, "w1", "center", 100, ["steps=3", "log.every=1"], report=False)
    assert run.info["parent"] == {"run": str(pair.path), "step": 100, "between": ["w1", "center"]}
    assert run.path.name.startswith("pair-midpoint-") and run.config.name == "pair-midpoint"
    assert (run.config.walkers, run.config.has_center, run.config.schedule) == (1, False, ())
    assert run.config.dynamics == pair.config.dynamics and run.config.landscape == pair.config.landscape
    assert run.config.curvature is not None and run.config.curvature.of == ("w0",)
    assert run.config.stop is not None and run.config.stop.of == "mean"
    assert run.results["step"].tolist() == [0, 1, 2, 3] and set(run.eigenvalues["walker"]) == {"w0"}
    late = wd.midpoint(pair, "w0", "w1", 300, ["steps=0"], report=False)
    assert late.config.dynamics.lr == 0.05  # the schedule had acted by then


def test_probes_of_other_points_are_left_out(here: Path) -> None:
    keys = {
        "landscape": {"kind": "quadratic", "dim": 3, "start": [1.0, 2.0], "optima": [0.0, 0.5]},
        "walkers": 2,
        "steps": 2,
        "coupling": {"name": "easgd"},
        "probes": {"plane": {"through": ["center", "w0", "w1"], "every": 2, "grid": 3}, "distances": {}},
    }
    parent = wd.run(keys, run_dir=here / "bowl", report=False)
    run = wd.midpoint(parent, "w0", "w1", report=False)
    assert run.config.probes is not None and run.config.probes.plane is None
    assert run.status == "done" and run.config.landscape.start == (1.0,)


def test_it_begins_with_zero_momentum(here: Path) -> None:
    """Its first step is x - lr h x, whatever its parents were carrying."""
    keys = {"landscape": {"kind": "quadratic", "start": [1.0, 2.0], "curvature": 0.5}, "walkers": 2, "steps": 10}
    parent = wd.run({**keys, "dtype": "float64", "dynamics": {"momentum": 0.9}}, run_dir=here / "bowl", report=False)
    run = wd.midpoint(parent, "w0", "w1", overrides=["steps=1", "snapshots.every=1"], report=False)
    assert float(run.snapshot(1, "w0")) == pytest.approx((1 - 0.1 * 0.5) * float(run.snapshot(0, "w0")), rel=1e-14)


def test_over_processes_and_with_another_coupling(pair: wd.Run) -> None:
    words = ["steps=20", "coupling.name=easgd", "curvature=null", "analysts=0", "stop=null"]
    one = wd.midpoint(pair, "w0", "w1", overrides=words, report=False)
    other = wd.midpoint(pair, "w0", "w1", overrides=words, in_process=False, report=False)
    assert one.results.drop(columns="elapsed").equals(other.results.drop(columns="elapsed"))
    assert torch.equal(other.snapshot(0, "center"), other.snapshot(0, "w0"))
