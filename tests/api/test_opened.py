"""A run read back: the bits that were written, whole rows only, several runs as one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from walkers_dist.api.opened import Run, open_run, runs
from walkers_dist.config.data import DigitsConfig
from walkers_dist.config.errors import UserError
from walkers_dist.landscape.data.prepare import prepare
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.snapshots import snapshot_parts, write_snapshot
from walkers_dist.records.tables import COLUMNS, Table

CONFIG = """\
landscape: {kind: network, data: {name: digits, train_size: 100, test_size: 50}, model: {name: mlp, hidden: [5]}}
name: back
walkers: 2
steps: 20
dtype: float64
"""
P = 64 * 5 + 5 + 5 * 10 + 10


def make(path: Path, config: str = CONFIG, status: str = "done") -> Path:
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(config)
    (path / "run.json").write_text(json.dumps({"status": status}))
    return path


def fill(path: Path, name: str, rows: list[list[object]]) -> None:
    table = Table(path / f"{name}.csv", COLUMNS[name])
    table.append(rows)
    table.close()


def with_snapshots(path: Path, points: dict[int, dict[str, torch.Tensor]]) -> Path:
    run = RunDirectory(path)
    parts = snapshot_parts(run)
    for step, walkers in points.items():
        parts.expect(step, list(walkers))
        for walker, theta in walkers.items():  # one process per walker
            parts.add(step, walker, write_snapshot(run, step, walker, {walker: theta}), [walker])
    return path


def test_tables_come_back_bit_for_bit(tmp_path: Path) -> None:
    path = make(tmp_path / "run")
    values = np.random.default_rng(0).standard_normal(500) * 10.0 ** np.arange(-250, 250)
    fill(path, "distances", [[t, "center", "w0", v, None] for t, v in enumerate(values)])
    fill(path, "distances", [[500, "center", "w0", float("nan"), 1.0], [500, "center", "w1", float("inf"), 1.0]])
    table = open_run(path).distances
    assert tuple(table.columns) == COLUMNS["distances"]
    np.testing.assert_array_equal(table["distance"].to_numpy(), [*values, np.nan, np.inf])
    assert list(table["a"].unique()) == ["center"] and table["step"].dtype.kind == "i"


@pytest.mark.parametrize("name", ["results", "distances", "eigenvalues", "events"])
def test_an_absent_table_has_its_columns_and_no_rows(tmp_path: Path, name: str) -> None:
    table = getattr(open_run(make(tmp_path / "run")), name)
    assert tuple(table.columns) == COLUMNS[name] and len(table) == 0


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = make(tmp_path / "run")
    fill(path, "distances", [[0, "center", "w0", 1.5, 1.0]])
    with (path / "distances.csv").open("a") as file:
        file.write("10,center,w0,1.2")  # would read as a whole row of 1.2 where 1.25 is being written
    assert open_run(path).distances.values.tolist() == [[0, "center", "w0", 1.5, 1.0]]


def test_a_living_run_is_read_anew(tmp_path: Path) -> None:
    path = make(tmp_path / "run", status="running")
    run = open_run(path)
    assert len(run.events) == 0 and run.status == "running"
    fill(path, "events", [[5, "12:00", "schedule", "dynamics.lr", "0.10", "0.010"]])
    (path / "run.json").write_text('{"status": "done"}')
    assert run.events.loc[0, "new"] == "0.010"  # words stay words
    assert run.status == "done"


def test_config_and_where_there_is_no_run(tmp_path: Path) -> None:
    run = open_run(str(make(tmp_path / "run")))
    assert (run.config.name, run.config.walkers, run.config.steps) == ("back", 2, 20)
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match="not a run directory"):
            open_run(path)


def test_several_runs_are_one_table(tmp_path: Path) -> None:
    for name, step in {"lr-b": 7, "lr-a": 3, "other": 9}.items():
        fill(make(tmp_path / name), "distances", [[step, "center", "w0", 0.5, 1.0]])
    make(tmp_path / "lr-empty")
    (tmp_path / "lr-notes").mkdir()
    found = runs(str(tmp_path / "lr-*"))
    assert [run.path.name for run in found] == ["lr-a", "lr-b", "lr-empty"] and len(found) == 3
    assert isinstance(found[0], Run)
    table = found.distances
    assert list(table.columns) == ["run", *COLUMNS["distances"]]
    assert table[["run", "step"]].values.tolist() == [["lr-a", 3], ["lr-b", 7]] and table["step"].dtype.kind == "i"
    assert list(found.events.columns) == ["run", *COLUMNS["events"]]
    with pytest.raises(UserError, match="no run directory matches"):
        runs(str(tmp_path / "nothing-*"))


def test_snapshots_landscape_and_model(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    points = {
        step: {name: torch.randn(P, dtype=torch.float64, generator=generator) for name in ("center", "w0", "w1")}
        for step in (0, 20)
    }
    run = open_run(with_snapshots(make(tmp_path / "run"), points))
    assert run.steps == [0, 20]
    theta = run.snapshot(step=20, walker="w1")
    assert torch.equal(theta, points[20]["w1"])
    assert run.landscape is run.landscape and run.landscape.size == P
    with pytest.raises(UserError, match="w7"):
        run.snapshot(20, "w7")

    model, landscape = run.model(step=20, walker="w1"), run.landscape
    assert torch.equal(torch.cat([p.detach().flatten() for p in model.parameters()]), theta)
    data = prepare(DigitsConfig(train_size=100, test_size=50), seed=0)
    by_hand = torch.nn.functional.cross_entropy(model(data.x_train.double()), data.y_train)
    torch.testing.assert_close(landscape.loss(theta[None])[0], by_hand.detach(), rtol=1e-6, atol=0)


def test_a_landscape_without_a_network_has_no_model(tmp_path: Path) -> None:
    config = "landscape: {kind: quadratic, dim: 2}\nwalkers: 1\nsteps: 5\ndynamics: {name: sgd, batch_size: null}\n"
    path = with_snapshots(make(tmp_path / "run", config), {0: {"w0": torch.tensor([1.0, 2.0])}})
    run = open_run(path)
    assert run.snapshot(0, "w0").tolist() == [1.0, 2.0]
    with pytest.raises(UserError, match="no torch module"):
        run.model(0, "w0")
