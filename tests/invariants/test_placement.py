"""Invariant 2: where the walkers are moved changes no trajectory beyond the order of floating-point sums."""

from __future__ import annotations

import pytest

import walkers_dist as wd

NETWORK = {
    "name": "network",
    "dtype": "float64",
    "landscape": {
        "kind": "network",
        "data": {"name": "digits", "train_size": 203, "test_size": 101},
        "model": {"name": "mlp", "hidden": [8], "activation": "tanh"},
        "l2": 1e-3,
        "init": {"same": False},
    },
    "walkers": 4,
    "steps": 100,
    "dynamics": {"name": "sgd", "lr": 0.05, "momentum": 0.5, "nesterov": True, "batch_size": 20},
    "coupling": {"name": "easgd", "alpha": 0.1, "period": 4},
    "schedule": [{"at": 50, "set": {"dynamics.lr": 0.02, "coupling.alpha": 0.05}}],
    "probes": {"distances": {}},
    "snapshots": {"every": 25},
    "curvature": {"every": 50, "of": ["center", "w2"], "top": 2, "bottom": 2},
}
BOWL = {
    "name": "bowl",
    "dtype": "float64",
    "landscape": {
        **{"kind": "quadratic", "dim": 5, "curvature": [0.1, 0.5, 1, 2, 4], "noise": 0.2},
        **{"optima": [0, 1, 2, 3, 5], "start": [1, 2, 1, -1, 0]},
    },
    "walkers": 5,
    "steps": 100,
    "dynamics": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    "probes": {"distances": {}},
    "snapshots": {"every": 25},
    "curvature": {"every": 50, "top": 1, "bottom": 1},
}
ELEMENTARY = {**BOWL, "coupling": {"name": "elementary", "alpha": 0.2, "period": 3}}
TOLERANCE = 1e-10


def in_one_process(config, tools, folder):
    return tools.contents(wd.run(config, run_dir=folder, report=False).path)


@pytest.fixture(scope="module")
def network(tools, tmp_path_factory):
    return in_one_process(NETWORK, tools, tmp_path_factory.mktemp("network") / "run")


def over_processes(config, walkers, tools, folder):
    command = walkers(folder, config)
    assert command.wait() == 0, command.said
    return tools.contents(command.run)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_a_network(rows, network, walkers, tools, tmp_path):
    found = over_processes({**NETWORK, "walkers_per_process": rows}, walkers, tools, tmp_path / "run")
    assert tools.difference(found, network) < TOLERANCE


@pytest.mark.parametrize(("config", "rows"), [(BOWL, 1), (ELEMENTARY, 2)], ids=["without forces", "elementary"])
def test_a_noisy_bowl_with_processes_of_unequal_size(config, rows, walkers, tools, tmp_path):
    found = over_processes({**config, "walkers_per_process": rows}, walkers, tools, tmp_path / "run")
    assert tools.difference(found, in_one_process(config, tools, tmp_path / "other")) < TOLERANCE


def test_how_far_single_precision_drifts(walkers, tools, tmp_path):
    """It drifts: how far is printed (`pytest -s`); after 100 steps it must still be rounding, no other trajectory."""
    config = {**NETWORK, "dtype": "float32", "walkers_per_process": 2, "curvature": None}
    found = over_processes(config, walkers, tools, tmp_path / "run")
    drift = tools.difference(found, in_one_process(config, tools, tmp_path / "other"))
    print(f"\nfloat32, 100 steps, two processes against one: {drift:.1e}")
    assert drift < 1e-3
