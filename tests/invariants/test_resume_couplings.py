"""Invariants 2 and 3 for every coupling that remembers something, in one process and over several."""

from __future__ import annotations

import pytest
import torch

import walkers_dist as wd

BOWL = {
    "name": "bowl",
    "dtype": "float64",
    "landscape": {
        **{"kind": "quadratic", "dim": 3, "curvature": [0.1, 0.5, 2.0], "noise": 0.2},
        **{"optima": [0.0, 1.0, 2.0, 3.0], "start": [1.0, 2.0, 1.5, -1.0]},
    },
    "walkers": 4,
    "walkers_per_process": 2,
    "analysts": 0,
    "steps": 900,
    "dynamics": {"name": "sgd", "lr": 0.02, "momentum": 0.5, "nesterov": True},
    "log": {"every": 20},
    "snapshots": {"every": 100},
    "checkpoint": {"every": 50, "keep": 20},
}
COUPLINGS = {
    "downpour": {"name": "downpour", "period": 3},
    "replicated": {"name": "replicated", "g": "auto", "scoping": {"rate": 0.01, "to": 3.0}},
    "explicit center": {"name": "replicated", "g": "auto", "period": 2, "traced": False},
    "parle": {"name": "parle", "period": 7, "gamma": 2.0, "decay": 0.1},
    "parle mpi": {"name": "parle", "period": 7, "gamma": 2.0, "variant": "mpi"},
    "diloco": {"name": "diloco", "period": 7},
    "tree": {"name": "tree", "period": 2, "slow_period": 8},
}
"""Their periods are none of those of checkpoints: a run is killed between two exchanges."""


@pytest.fixture(scope="module", params=COUPLINGS)
def undisturbed(request, tools, tmp_path_factory):
    """The keys of a run in one process, the run, and what it left behind."""
    config = {**BOWL, "coupling": COUPLINGS[request.param]}
    run = wd.run(config, run_dir=tmp_path_factory.mktemp("undisturbed") / "run", report=False)
    return config, run, tools.contents(run.path)


def test_killed_in_one_process_it_ends_with_equal_bits(undisturbed, forked, tools, tmp_path):
    config, _, expected = undisturbed
    run = tmp_path / "run"

    def at_180(path, data):
        return path.endswith("/results.csv") and data.startswith(b"180,")

    assert forked(run, config, dies=at_180).is_killed()
    assert not forked(run).is_killed()
    tools.assert_equal(tools.contents(run), expected)


def test_killed_over_processes_others_go_on_with_it(undisturbed, walkers, tools, tmp_path):
    """Two rows in each process, then one: the same as all in one process, to the last few bits."""
    config, _, expected = undisturbed
    first = walkers(tmp_path / "run", config)
    tools.until(lambda: tools.last_step(first.run) >= 120, "step 120")
    first.kill("all")
    assert first.wait() != 0, first.said
    last = walkers(first.run, None, "walkers_per_process=1")
    assert last.wait() == 0, last.said
    assert tools.difference(tools.contents(first.run), expected) < 1e-10


def test_a_fork_without_changes_goes_on_the_same(undisturbed, tools, tmp_path):
    """What the coupling remembers goes with it."""
    _, run, expected = undisturbed
    points = tools.contents(wd.fork(run, 650, run_dir=tmp_path / "fork", report=False).path)["snapshots"]
    assert {step for step, _ in points} >= {700, 800, 900}
    for (step, name), point in points.items():
        assert step == 650 or torch.equal(point, expected["snapshots"][step, name])
