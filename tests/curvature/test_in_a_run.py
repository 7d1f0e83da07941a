"""What an analyst writes of the Hessian, its parts and its density, against the same measured by hand."""

from __future__ import annotations

import pytest
import torch

import walkers_dist as wd
from walkers_dist.config.schema import CurvatureConfig
from walkers_dist.curvature import counts, quantities
from walkers_dist.roles.spectra import spectrum_rows

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


NAMES = [
    *("moment 1", "moment 2", "moment 3", "moment 4", "trace", "frobenius", "effective rank"),
    *("above 0.1 top", "bulk fraction", "negative ratio"),
]


def figures_of(values: torch.Tensor) -> dict[str, float]:
    """By the definitions of the papers, one eigenvalue after another."""
    v = values.tolist()
    top, trace, squares = max(v), sum(v), sum(x * x for x in v)
    return {
        **{f"moment {k}": sum(x**k for x in v) / len(v) for k in (1, 2, 3, 4)},
        **{"trace": trace, "frobenius": squares**0.5, "effective rank": trace * trace / squares},
        "above 0.1 top": sum(x > 0.1 * top for x in v),
        "bulk fraction": sum(abs(x) < 0.01 * top for x in v) / len(v),
        "negative ratio": -min(v) / top,
        "rank": sum(x > 1e-12 * top for x in v),
    }


def spectrum_of(run: wd.Run, step: int, matrix: str) -> torch.Tensor:
    of = {"hessian": wd.curvature.hessian, "ggn": wd.curvature.gauss_newton, "residual": wd.curvature.residual}[matrix]
    A = of(run.landscape, run.snapshot(step, "w1"))
    return torch.linalg.eigvalsh(A(torch.eye(A.size, dtype=torch.float64)))


@pytest.mark.parametrize("matrix", ["hessian", "ggn", "residual"])
def test_figures_of_all_eigenvalues_are_exact(run, matrix):
    rows = run.curvature.query(f"step == 10 and matrix == '{matrix}'")
    assert rows["quantity"].tolist() == NAMES + ["rank"] * (matrix == "ggn")
    assert (rows["error"] == 0).all()
    exact = figures_of(spectrum_of(run, 10, matrix))
    for quantity, value in zip(rows["quantity"], rows["value"], strict=True):
        assert value == pytest.approx(exact[quantity], rel=1e-9, abs=1e-12), quantity


@pytest.mark.parametrize("matrix", ["hessian", "ggn", "residual"])
def test_figures_beside_a_density_are_within_their_errors(run, matrix):
    rows = run.curvature.query(f"step == 0 and matrix == '{matrix}'")
    assert rows["quantity"].tolist() == NAMES + ["rank"] * (matrix == "ggn")
    exact = figures_of(spectrum_of(run, 0, matrix))
    for quantity, value, error in rows[["quantity", "value", "error"]].itertuples(index=False):
        assert abs(value - exact[quantity]) <= 5 * error + 1e-9, quantity
    assert (rows["error"] > 0).sum() >= 7


def test_the_largest_eigenvalue_is_the_one_that_the_edges_found(run, monkeypatch):
    """Counts of a density are relative to it, not to the largest node, which lies below."""
    seen = []
    monkeypatch.setattr(quantities, "counts", lambda *given: seen.append(given[-1]) or counts(*given))
    A = wd.curvature.hessian(run.landscape, run.snapshot(10, "w1"))
    for keys in ({"top": 2}, {"top": 0, "bottom": 0}):
        wanted = CurvatureConfig.model_validate({"density": {"probes": 2, "steps": 3}, **keys})
        spectrum_rows([10, "w1", "hessian"], A, wanted, False, 0)
    top = float(spectrum_of(run, 10, "hessian")[-1])
    assert seen == [pytest.approx(top, rel=1e-6), None]


def test_a_spectrum_alone_has_its_figures_too(tmp_path):
    """Relative to a largest eigenvalue that is not above 0 there are no counts."""
    keys = {
        **{"name": "flat", "dtype": "float64", "walkers": 1, "steps": 0, "coupling": None},
        "landscape": {"kind": "quadratic", "dim": 3, "curvature": [-1.0, -2.0, -4.0]},
        "curvature": {"of": ["w0"], "full": "always", "top": 1, "bottom": 0},
    }
    run = wd.run(keys, run_dir=tmp_path / "run", report=False)
    found = run.curvature.set_index("quantity")
    assert found.index.tolist() == NAMES and run.density.empty
    assert found.loc["trace", ["value", "error"]].tolist() == [-7, 0]
    assert found.loc[NAMES[-3:], ["value", "error"]].isna().all(axis=None)


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
