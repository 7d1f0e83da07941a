"""Invariant 1: the same configuration, seed, layout and threads give equal tables and points, bit for bit."""

from __future__ import annotations

import pytest
import torch

import walkers_dist as wd

BOWL = {
    "name": "bowl",
    "dtype": "float64",
    "landscape": {"kind": "quadratic", "dim": 7, "curvature": 0.5, "optima": [0, 1, 2, 3], "noise": 0.3},
    "walkers": 4,
    "steps": 60,
    "dynamics": {"name": "sgd", "lr": 0.2, "momentum": 0.9, "nesterov": True},
    "snapshots": {"every": 20},
    "probes": {"distances": {}},
    "curvature": {"every": 20, "top": 1, "bottom": 1, "full": "always"},
}
COUPLINGS = [None, {"name": "elementary", "period": 3}, {"name": "easgd", "order": "center_last"}]


def test_in_one_process(tools, tmp_path, in_process):
    torch.manual_seed(17)  # torch's own stream is nobody's
    again = wd.run(tools.DIGITS, run_dir=tmp_path / "run", report=False)
    tools.assert_equal(tools.contents(again.path), in_process)


def test_over_processes(walkers, tools, tmp_path, over_processes):
    again = walkers(tmp_path / "run", tools.DIGITS)
    assert again.wait() == 0, again.said
    tools.assert_equal(tools.contents(again.run), over_processes)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_on_a_noisy_bowl(coupling, tools, tmp_path):
    runs = []
    for number in range(2):
        torch.manual_seed(number)
        run = wd.run({**BOWL, "coupling": coupling}, run_dir=tmp_path / f"{number}", report=False)
        runs.append(tools.contents(run.path))
    tools.assert_equal(*runs)


def test_another_seed_gives_another_run(tools, tmp_path, in_process):
    other = tools.contents(wd.run(tools.DIGITS, ["seed=1"], run_dir=tmp_path / "run", report=False).path)
    assert other["snapshots"].keys() == in_process["snapshots"].keys()
    for key, point in other["snapshots"].items():
        assert not torch.equal(point, in_process["snapshots"][key]), key
