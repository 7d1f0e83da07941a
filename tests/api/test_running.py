"""Experiments run from Python, and what can be done with the run they give back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import walkers_dist as wd
from walkers_dist.records.tables import COLUMNS

QUADRATIC: dict[str, Any] = {
    "landscape": {"kind": "quadratic", "dim": 3, "curvature": [1.0, 2.0, 3.0], "noise": 0.1, "optima": [0.0, 1.0]},
    "walkers": 2,
    "steps": 12,
    "dtype": "float64",
    "dynamics": {"name": "sgd", "lr": 0.1, "momentum": 0.0, "batch_size": 10},
    "coupling": {"name": "easgd", "alpha": 0.2, "period": 3},
    "log": {"every": 4},
    "snapshots": {"every": 6},
}
NETWORK: dict[str, Any] = {
    "name": "small",
    "landscape": {
        "kind": "network",
        "data": {"name": "digits", "train_size": 200, "test_size": 100},
        "model": {"name": "mlp", "hidden": [5]},
        "l2": 0.01,
    },
    "walkers": 3,
    "steps": 30,
    "dtype": "float64",
    "dynamics": {"name": "sgd", "batch_size": 20},
    "coupling": {"name": "easgd", "period": 4},
    "schedule": [{"at": 20, "set": {"dynamics.lr": 0.01}}],
    "log": {"every": 5},
    "snapshots": {"every": 10},
    "probes": {"distances": {"every": 10}},
    "curvature": {"every": 10, "of": ["center", "w1"], "top": 3, "bottom": 2, "full": "at_end"},
}
NAMES = ["center", "w0", "w1", "w2"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs lie in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> wd.Run:
    """One run of a network that several tests read."""
    return wd.run(NETWORK, run_dir=tmp_path_factory.mktemp("runs") / "small", report=False)


def at(table: pd.DataFrame, **where: object) -> pd.DataFrame:
    for column, value in where.items():
        table = table[table[column] == value]
    return table


# ---- running --------------------------------------------------------------------------------------------------------


def test_a_run_gives_data_frames(small: wd.Run) -> None:
    assert isinstance(small, wd.Run) and small.status == "done" and small.steps == [0, 10, 20, 30]
    results = small.results
    assert tuple(results.columns) == COLUMNS["results"] and len(results) == 7 * 4
    assert results["step"].tolist() == [t for t in range(0, 31, 5) for _ in NAMES]
    assert results["walker"].tolist() == NAMES * 7
    assert results["lr"].tolist() == [0.1 if t < 20 else 0.01 for t in results["step"]]
    assert results["epoch"].tolist() == [t / 10 for t in results["step"]]
    assert results.notna().all().all() and results["elapsed"].is_monotonic_increasing
    assert len(small.distances) == 4 * 6 and len(small.eigenvalues) == 4 * 2 * 5 + 2 * small.landscape.size
    assert small.events[["step", "source", "key", "new"]].values.tolist() == [[20, "schedule", "dynamics.lr", "0.01"]]
    assert not (small.path / "report.html").exists()


def test_a_file_and_overrides(here: Path) -> None:
    (here / "bowl.yaml").write_text(
        "{landscape: {kind: quadratic}, walkers: 1, steps: 9, dynamics: {name: sgd, lr: 0.5, momentum: 0}}"
    )
    run = wd.run("bowl.yaml", ["steps=4", "dynamics.lr=0.25", "log.every=1", "dtype=float64"], report=False)
    assert run.path.parent == here / "runs" and re.fullmatch(r"bowl-\d{8}-\d{6}", run.path.name)
    assert run.config.steps == 4 and run.results["walker"].unique().tolist() == ["w0"]
    np.testing.assert_allclose(run.results["norm"], 0.75 ** np.arange(5), rtol=1e-14)  # x <- x - lr x
    assert wd.run(here / "bowl.yaml", ("steps=0",), run_dir="own", report=False).path == here / "own"


@pytest.mark.parametrize("kind", [dict, MappingProxyType])
def test_a_mapping(here: Path, kind: Any) -> None:
    """As notebooks make them: with tuples, and numbers from numpy and torch."""
    keys: Mapping[str, Any] = kind({
        **QUADRATIC,
        "steps": np.int64(5),
        "landscape": kind({"kind": "quadratic", "dim": 3, "curvature": np.array([1.0, 2.0, 3.0]), "start": (1.0, 2.0)}),
        "dynamics": {**QUADRATIC["dynamics"], "lr": np.float64(0.1)},
        "coupling": {"name": "easgd", "alpha": torch.tensor(0.25)},
    })  # fmt: skip
    run = wd.run(keys, report=False)
    config: Any = run.config
    assert config.name == "experiment" and run.path.parent == here / "runs"
    assert (config.steps, config.dynamics.lr, config.coupling.alpha) == (5, 0.1, 0.25)
    assert (config.landscape.curvature, config.landscape.start) == ((1.0, 2.0, 3.0), (1.0, 2.0))


def test_the_same_seed_gives_the_same_tables_and_leaves_no_mark() -> None:
    """Neither on what is random elsewhere, nor on how many threads there are."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    one = wd.run(QUADRATIC, report=False).results
    assert torch.get_num_threads() == 2 and torch.equal(torch.get_rng_state(), state)
    torch.set_num_threads(threads)
    torch.rand(3)
    again, other = wd.run(QUADRATIC, report=False).results, wd.run(QUADRATIC, ["seed=1"], report=False).results
    pd.testing.assert_frame_equal(one.drop(columns="elapsed"), again.drop(columns="elapsed"), check_exact=True)
    assert not np.allclose(one["norm"], other["norm"])


def test_the_report_is_drawn_unless_told_otherwise() -> None:
    run = wd.run(QUADRATIC)
    assert (run.path / "report.html").stat().st_size > 10_000


@pytest.mark.timeout(120)
def test_with_processes_of_its_own() -> None:
    """The same numbers, from a coordinator and two walker processes."""
    apart = wd.run(QUADRATIC, ["analysts=0"], in_process=False, report=False)
    assert [seat["name"] for seat in apart.info["plan"]] == ["coordinator", "walkers 0", "walkers 1"]
    results, one = apart.results, wd.run(QUADRATIC, report=False).results
    assert results["walker"].tolist() == one["walker"].tolist()
    np.testing.assert_allclose(results["norm"], one["norm"], rtol=1e-12)
    with pytest.raises(wd.UserError, match=r"dynamics.lr = -1: must be"):
        wd.run(QUADRATIC, ["dynamics.lr=-1"], in_process=False, report=False)


def test_resumed_with_more_steps() -> None:
    run, whole = wd.run(QUADRATIC, report=False), wd.run(QUADRATIC, ["steps=20"], report=False)
    longer = wd.resume(run, ["steps=20"], report=False)
    assert longer.path == run.path and longer.status == "done"
    pd.testing.assert_frame_equal(
        longer.results.drop(columns="elapsed"), whole.results.drop(columns="elapsed"), check_exact=True
    )


# ---- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "overrides", "says"),
    [
        ({}, ["dynamics.lr=-1"], r"dynamics.lr = -1"),
        ({}, ["dynamics.lrr=1"], r"unknown key dynamics.lrr; did you mean dynamics.lr\?"),
        ({}, ["lr"], r"lr: an override is written key=value"),
        ({"name": "a/b"}, [], r"name = a/b"),
        ({"name": 3}, [], r"name = 3"),
        ({"landscape": object()}, [], r"config: <object object.*> is nothing that a configuration can hold"),
        ({"coupling": {"name": "easgd", "alpha": 1.5}}, [], r"coupling.alpha = 1.5"),
        ({"landscape": {"kind": "my_bowls_that_are_not:bowl"}}, [], r"my_bowls_that_are_not"),
    ],
)
def test_wrong_input_leaves_nothing_behind(here: Path, keys: Any, overrides: list[str], says: str) -> None:
    with pytest.raises(wd.UserError, match=says) as refused:
        wd.run({**QUADRATIC, **keys}, overrides, report=False)
    assert "\n" not in str(refused.value) and list(here.iterdir()) == []


def test_a_file_that_is_not_there(here: Path) -> None:
    with pytest.raises(wd.UserError, match=r"nothing.yaml"):
        wd.run("nothing.yaml", report=False)
    with pytest.raises(wd.UserError, match=r"nothing.*run directory"):
        wd.resume("nothing", report=False)
    assert list(here.iterdir()) == []


def test_a_folder_that_is_not_empty(here: Path) -> None:
    (here / "full").mkdir()
    (here / "full" / "notes.txt").write_text("mine")
    with pytest.raises(wd.UserError, match="full"):
        wd.run(QUADRATIC, run_dir="full", report=False)
    assert [path.name for path in (here / "full").iterdir()] == ["notes.txt"]


def test_a_run_that_fails_says_where_and_why() -> None:
    with pytest.raises(wd.RunFailed, match=r"w\d diverged.*error.txt"):
        wd.run(QUADRATIC, ["dynamics.lr=1e30"], run_dir="lost", report=False)
    lost = wd.open_run("lost")
    assert lost.status == "failed" and "diverged" in (lost.path / "error.txt").read_text()
    assert lost.results["step"].iloc[0] == 0  # what was measured stays readable


# ---- several runs ---------------------------------------------------------------------------------------------------


def test_runs_side_by_side() -> None:
    for alpha in (0.1, 0.3):
        wd.run(QUADRATIC, [f"coupling.alpha={alpha}"], run_dir=f"alpha-{alpha}", report=False)
    both = wd.runs("alpha-*")
    assert [run.config.coupling.alpha for run in both] == [0.1, 0.3]  # type: ignore[attr-defined]
    last = at(both.results, step=12, walker="center")
    assert last["run"].tolist() == ["alpha-0.1", "alpha-0.3"] and last["norm"].nunique() == 2


# ---- the surface and its points -------------------------------------------------------------------------------------

FIGURES = ["norm", "train_loss", "train_grad_norm", "train_accuracy", "test_loss", "test_grad_norm", "test_accuracy"]


def measured(run: wd.Run, theta: Tensor) -> list[float]:
    """The figures of a row, by the landscape's plain methods."""
    landscape, point = run.landscape, theta[None]
    out = [theta.norm().item()]
    for split in ("train", "test"):
        out += [landscape.loss(point, split=split).item(), landscape.grad(point, split=split).norm().item()]
        out += [landscape.accuracy(point, split=split).item()]
    return out


def test_the_landscape_reproduces_the_table(small: wd.Run) -> None:
    for step in small.steps:
        for name in NAMES:
            row = at(small.results, step=step, walker=name)[FIGURES].to_numpy()[0]
            np.testing.assert_allclose(measured(small, small.snapshot(step, name)), row, rtol=1e-12)


def test_distances_are_those_of_the_snapshots(small: wd.Run) -> None:
    for step, a, b, distance, cosine in small.distances.itertuples(index=False):
        x, y = small.snapshot(step, a), small.snapshot(step, b)
        assert distance == pytest.approx((x - y).norm().item(), rel=1e-12, abs=1e-14)
        assert cosine == pytest.approx((x @ y / x.norm() / y.norm()).item(), rel=1e-12)


def test_the_model_is_the_walker(small: wd.Run) -> None:
    model, theta = small.model(step=30, walker="w2"), small.snapshot(step=30, walker="w2")
    assert isinstance(model, nn.Module)
    assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), theta)
    row = at(small.results, step=30, walker="w2")
    for split in ("train", "test"):
        x, y = small.landscape.inputs[split], small.landscape.targets[split].argmax(1)  # type: ignore[attr-defined]
        right = (model(x).argmax(1) == y).double().mean().item()
        assert right == pytest.approx(row[f"{split}_accuracy"].item(), abs=1e-12)
        loss = nn.functional.cross_entropy(model(x), y).item() + 0.01 / 2 * (theta @ theta).item()
        assert loss == pytest.approx(row[f"{split}_loss"].item(), rel=1e-12)


def test_curvature_of_a_run_equals_its_table(small: wd.Run) -> None:
    for name in ("center", "w1"):
        H = wd.curvature.hessian(small.landscape, small.snapshot(step=30, walker=name))
        spectrum = wd.curvature.spectrum(H).eigenvalues.flip(0).numpy()
        found = at(small.eigenvalues, step=30, walker=name)
        np.testing.assert_allclose(at(found, side="full")["eigenvalue"], spectrum, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(at(found, side="top")["eigenvalue"], spectrum[:3], rtol=1e-4)
        np.testing.assert_allclose(at(found, side="bottom")["eigenvalue"], spectrum[::-1][:2], rtol=1e-4)
    edges = wd.curvature.extremes(wd.curvature.hessian(small.landscape, small.snapshot(10, "center")), top=3, bottom=2)
    rows = at(small.eigenvalues, step=10, walker="center")
    np.testing.assert_allclose(edges.eigenvalues.flip(0)[:3], at(rows, side="top")["eigenvalue"], rtol=1e-3)
    assert at(rows, side="top")["rank"].tolist() == [1, 2, 3] and (rows["residual"] < 1e-2).all()


def test_a_single_precision_run_reads_back_in_nine_digits() -> None:
    run = wd.run(NETWORK, ["dtype=float32", "curvature=null", "steps=10"], report=False)
    assert run.snapshot(10, "w0").dtype == torch.float32
    rows = torch.stack([run.snapshot(10, name) for name in NAMES[1:]])  # as the walkers were measured, together
    figures = run.landscape.figures(rows, run.landscape.sums(rows))
    table = at(run.results, step=10).iloc[1:]
    assert [f"{v:.9g}" for v in figures.loss.tolist()] == [f"{v:.9g}" for v in table["train_loss"]]
    np.testing.assert_array_equal(figures.grad_norm.numpy(), table["train_grad_norm"].to_numpy(np.float32))
