"""What an analyst writes of the Hessian, its parts and its density, against the same measured by hand."""

from __future__ import annotations

import pytest
import torch

import walkers_dist as wd

CONFIG = {
    "name": "curved",
    "dtype": "float64",
    "landscape": {
        "data": {"name": "digits", "train_size": 60, "test_size": 20},
        "model": {"name": "mlp", "hidden": [4]},
    },
    "walkers": 2,
    "steps": 10,
    "dynamics": {"name": "sgd", "batch_size": 20},
    "snapshots": {"every": 10},
    "curvature": {
        "every": 10,
        "of": ["w1"],
        "matrix": ["hessian", "ggn", "residual"],
        "top": 3,
        "bottom": 2,
        "density": {"probes": 3, "steps": 20},
        "full": "at_end",
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return wd.run(CONFIG, run_dir=tmp_path_factory.mktemp("curved") / "run", report=True)


def test_each_matrix_has_its_spectrum(run):
    theta = run.snapshot(10, "w1")
    parts = {"hessian": wd.curvature.hessian, "ggn": wd.curvature.gauss_newton, "residual": wd.curvature.residual}
    rows = run.eigenvalues[run.eigenvalues["step"] == 10]
    assert list(dict.fromkeys(rows["matrix"])) == list(parts)
    for name, of in parts.items():
        values = torch.linalg.eigvalsh(of(run.landscape, theta)(torch.eye(run.landscape.size, dtype=torch.float64)))
        mine = rows[rows["matrix"] == name]
        full = torch.tensor(mine[mine["side"] == "full"]["eigenvalue"].to_numpy()).flip(0)
        assert (full - values).abs().max() <= 1e-12 * values.abs().max()
        top = torch.tensor(mine[mine["side"] == "top"]["eigenvalue"].to_numpy())
        bottom = torch.tensor(mine[mine["side"] == "bottom"]["eigenvalue"].to_numpy())
        assert (top - values.flip(0)[:3]).abs().max() <= 1e-6 * values.abs().max()
        assert (bottom - values[:2]).abs().max() <= 1e-6 * values.abs().max()


def test_its_density_and_its_figures(run):
    rows = run.density
    assert len(rows) == 2 * 3 * 3 * 20
    weights = rows.groupby(["step", "walker", "matrix", "probe"])["weight"].sum()
    assert (weights - 1).abs().max() < 1e-10
    H = wd.curvature.hessian(run.landscape, run.snapshot(10, "w1"))
    again = wd.curvature.density(H, probes=3, steps=20, seed=0)
    mine = rows[(rows["step"] == 10) & (rows["matrix"] == "hessian")]
    assert torch.equal(torch.tensor(mine["node"].to_numpy()).view(3, 20), again.nodes)
    trace = run.curvature.set_index(["step", "matrix", "quantity"]).loc[(10, "hessian", "trace")]
    exact = float(torch.diagonal(H(torch.eye(H.size, dtype=H.dtype))).sum())
    assert abs(float(trace["value"]) - exact) <= 4 * float(trace["error"]) + 1e-9


def test_parts_are_refused_where_there_are_no_outputs(tmp_path):
    keys = {**CONFIG, "landscape": {"kind": "quadratic", "dim": 3}, "dynamics": {"name": "sgd"}}
    with pytest.raises(wd.UserError, match=r"curvature\.matrix = \[hessian, ggn, residual\]: must be \[hessian\]"):
        wd.run(keys, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_diverged_walker_says_nan_in_every_matrix(tmp_path):
    keys = {
        **CONFIG,
        "dynamics": {"name": "sgd", "batch_size": 20, "lr": 1e300},
        "exchange": {"on_divergence": "isolate"},
    }
    run = wd.run({**keys, "coupling": None}, run_dir=tmp_path / "run", report=False)
    last = run.eigenvalues[run.eigenvalues["step"] == 10]
    assert last["matrix"].tolist() == ["hessian", "ggn", "residual"] and last["eigenvalue"].isna().all()
