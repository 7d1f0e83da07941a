"""The program elementary-walkers, row by row (SPEC, E): what other tests do not name, each failing on what it did."""

from __future__ import annotations

import csv
import json
import math
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

import walkers_dist as wd
from walkers_dist.config.load import parse
from walkers_dist.landscape import build
from walkers_dist.records.tables import COLUMNS

SMALL = {
    "name": "small",
    "dtype": "float64",
    "landscape": {
        "data": {"name": "digits", "train_size": 70, "test_size": 31},
        "model": {"name": "mlp", "hidden": [5]},
    },
    "walkers": 3,
    "steps": 12,
    "dynamics": {"name": "sgd", "batch_size": 20},
    "log": {"every": 4},
}


def small(**keys):
    return {**SMALL, **keys}


def landscape_of(**keys):
    experiment = parse(small(**keys), "small")
    return build(experiment.landscape, seed=experiment.seed, dtype=experiment.dtype)


def batches(landscape, walker, steps, batch_size=20):
    """Which training samples this walker's minibatches hold: steps times [batch_size]."""
    chosen = []
    real = torch.index_select

    def noting(x, dim, index, *, out=None):
        if x is landscape.targets["train"]:
            chosen.append(index.tolist())
        return real(x, dim, index, out=out)

    torch.index_select = noting
    try:
        gradient = landscape.minibatches([walker], batch_size)
        for t in range(steps):
            gradient(torch.zeros(1, landscape.size, dtype=landscape.dtype), t)
    finally:
        torch.index_select = real
    return chosen


# ---- E.1 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [[4], [4, 4], [4, 4, 4, 4]], ids=len)
def test_n_layers_any_depth(hidden, tmp_path):
    """Row n_hidden, n_layers: the Hessian came for one or two layers alone."""
    keys = small(landscape={**SMALL["landscape"], "model": {"name": "mlp", "hidden": hidden}}, steps=2, walkers=1)
    run = wd.run({**keys, "curvature": {"every": 2, "top": 2, "full": "never"}}, run_dir=tmp_path / "run", report=False)
    sizes = [64, *hidden, 10]
    assert run.landscape.size == sum((a + 1) * b for a, b in pairwise(sizes))
    assert (run.eigenvalues["residual"] < 1e-3).all() and len(run.eigenvalues) == 2 * 5


def test_batch_size_the_last_partial_batch_is_dropped():
    """Row batch_size: 70 samples in batches of 20 are 3.5 a pass, and the index beyond was nil."""
    landscape = landscape_of()
    assert landscape.steps_per_epoch(20) == 3
    seen = batches(landscape, "w0", 6)
    assert [len(batch) for batch in seen] == [20] * 6
    for epoch in (seen[:3], seen[3:]):
        assert len({sample for batch in epoch for sample in batch}) == 60


def test_n_steps_are_gradients(tmp_path):
    """Row n_steps: documented as passes over the data, which they were not."""
    run = wd.run(small(), run_dir=tmp_path / "run", report=False)
    assert run.results["step"].max() == 12
    assert run.results.set_index("step")["epoch"].loc[12].unique().tolist() == [4.0]


def test_type_and_device_num_threads_are_asked_for(tmp_path):
    """Row type, device_num: 24 threads whatever the machine."""
    run = wd.run(small(threads=1, device="cpu"), run_dir=tmp_path / "run", report=False)
    assert (run.info["threads"], run.info["device"]) == (1, "cpu")


def test_freq_null_switches_off_and_zero_is_refused(tmp_path):
    """Row freq, freq_i: 0 divides by zero there."""
    with pytest.raises(wd.UserError, match=r"probes\.interpolation\.every = 0: must be at least 1"):
        parse(small(probes={"interpolation": {"every": 0}}), "small")
    run = wd.run(small(probes={"interpolation": None}), run_dir=tmp_path / "run", report=False)
    assert sorted(set(run.results["step"])) == [0, 4, 8, 12]
    assert not (run.path / "interpolations.csv").exists()


def test_hessian_only_when_asked(tmp_path):
    """Row hessian: without it the original's run ended in an error of its last call."""
    run = wd.run(small(), run_dir=tmp_path / "run", report=False)
    assert run.status == "done" and not (run.path / "eigenvalues.csv").exists()


def test_seed_is_set_and_recorded(tmp_path):
    """Row seed: it was the time of day."""
    runs = [wd.run(small(seed=s), run_dir=tmp_path / str(i), report=False) for i, s in enumerate([3, 3, 4])]
    ends = [run.snapshot(12, "w1") for run in runs]
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])
    assert [wd.open_run(run.path).config.seed for run in runs] == [3, 3, 4]


# ---- E.2 and F 1 ----------------------------------------------------------------------------------------------


def test_every_walker_has_an_order_of_its_own_that_covers_the_data():
    """F 1, E.2 permuteNfold: lists differ between walkers and passes, and their union over a pass is the data set."""
    landscape = landscape_of()
    orders = {
        (walker, epoch): batches(landscape, walker, 7 * (epoch + 1), batch_size=10)[7 * epoch :]
        for walker in ("w0", "w1")
        for epoch in (0, 1)
    }
    flat = {key: [sample for batch in order for sample in batch] for key, order in orders.items()}
    assert all(sorted(order) == list(range(70)) for order in flat.values())
    assert len({tuple(order) for order in flat.values()}) == 4
    again = batches(landscape_of(), "w1", 14, batch_size=10)
    assert [*orders["w1", 0], *orders["w1", 1]] == again


def test_one_batch_a_pass_has_a_new_order_at_every_step():
    """E.2: with a batch as large as the data the original made a permutation in each step, as here."""
    first, second = batches(landscape_of(), "w0", 2, batch_size=70)
    assert sorted(first) == sorted(second) == list(range(70)) and first != second


def test_order_within_a_step_walkers_then_center_then_rows(tmp_path):
    """E.2: the row of step 1 holds the walkers after one gradient and the center made of them."""
    keys = {
        "name": "order", "dtype": "float64", "walkers": 2, "steps": 1, "log": {"every": 1},
        "landscape": {"kind": "quadratic", "start": [1.0, 2.0], "center_start": 0.5},
        "dynamics": {"name": "sgd", "lr": 0.1, "momentum": 0.0},
        "coupling": {"name": "elementary", "alpha": 0.2, "rescale": False},
    }  # fmt: skip
    run = wd.run(keys, run_dir=tmp_path / "run", report=False)
    moved = [x * 0.9 - 0.2 * (x * 0.9 - 0.5) for x in (1.0, 2.0)]
    assert [float(run.snapshot(1, name)) for name in ("w0", "w1")] == pytest.approx(moved, abs=1e-15)
    assert float(run.snapshot(1, "center")) == pytest.approx(sum(moved) / 2, abs=1e-15)
    norms = run.results[run.results["step"] == 1].set_index("walker")["norm"]
    assert norms["center"] == pytest.approx(sum(moved) / 2)


def test_model_stats_are_weighted_by_samples_and_leave_everything_as_it_was():
    """E.2 model_stats: unweighted means of chunks, in random order, written over the gradient that a step uses."""
    landscape = landscape_of(landscape={**SMALL["landscape"], "l2": 0.0})
    theta = torch.stack([landscape.start("w0") * scale for scale in (1.0, 2.0)])
    before, generator = theta.clone(), torch.get_rng_state()
    figures = landscape.figures(theta, landscape.sums(theta))
    assert torch.equal(theta, before) and torch.equal(torch.get_rng_state(), generator)
    for k, point in enumerate(theta):
        net = landscape.module(point).requires_grad_(True)
        outputs = net(landscape.inputs["train"])
        loss = F.cross_entropy(outputs, landscape.targets["train"].argmax(1))
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])
        assert figures.loss[k] == pytest.approx(loss.item(), rel=1e-12)
        assert figures.grad_norm[k] == pytest.approx(gradient.norm().item(), rel=1e-12)


def test_rows_do_not_change_the_path(tmp_path):
    """E.2: measuring used random numbers and the gradient's place."""
    ends = [
        wd.run(small(log={"every": every}, probes=probes), run_dir=tmp_path / str(every), report=False).snapshot(
            12, "w0"
        )
        for every, probes in [(1, {"interpolation": {"every": 3}, "walk": {"every": 6, "moves": 3}}), (12, None)]
    ]
    assert torch.equal(*ends)


# ---- E.3 ------------------------------------------------------------------------------------------------------


def test_distances_are_symmetric_and_zero_on_the_diagonal(tmp_path):
    """Row distances and F 26, with the step that a row belongs to."""
    from walkers_dist.probes.distances import distances

    run = wd.run(small(coupling={"name": "easgd"}), run_dir=tmp_path / "run", report=False)
    names = ["center", "w0", "w1", "w2"]
    X = torch.stack([run.snapshot(12, name) for name in names])
    there = {(a, b): d for a, b, d, _ in distances(X, names, "all")}
    back = {(b, a): d for a, b, d, _ in distances(X.flip(0), names[::-1], "all")}
    assert there == pytest.approx(back) and len(there) == 6
    assert distances(torch.stack([X[0], X[0]]), ["w0", "w1"])[0][2] == 0
    assert "step" in COLUMNS["distances"]


# ---- E.5 and F 34 ---------------------------------------------------------------------------------------------


def test_tables_have_one_header_a_step_and_whole_rows(tmp_path):
    """E.5: headers were data, rows of results had no step, and the folder had to be there."""
    run = wd.run(small(), run_dir=tmp_path / "a" / "new folder" / "run", report=False)
    with (run.path / "results.csv").open() as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COLUMNS["results"] and header[0] == "step"
    assert header not in rows
    named = ["center", "w0", "w1", "w2"]
    assert [(int(row[0]), row[2]) for row in rows] == [(step, name) for step in (0, 4, 8, 12) for name in named]
    assert all(math.isfinite(float(cell)) for row in rows for i, cell in enumerate(row) if i != 2)


def test_lr_in_a_row_is_the_one_in_use(tmp_path):
    """E.5: it was the option's, even when the state's had changed."""
    keys = small(schedule=[{"at": 8, "set": {"dynamics.lr": 0.01}}])
    run = wd.run(keys, run_dir=tmp_path / "run", report=False)
    assert run.results.groupby("step")["lr"].first().to_dict() == {0: 0.1, 4: 0.1, 8: 0.01, 12: 0.01}


def test_metadata_is_json(tmp_path):
    """E.5: two rows of keys and values in any order."""
    run = wd.run(small(), run_dir=tmp_path / "run", report=False)
    info = json.loads((run.path / "run.json").read_text())
    assert info["versions"]["torch"] == torch.__version__ and info["parameters"] == run.landscape.size
    assert run.config.dynamics.batch_size == 20
