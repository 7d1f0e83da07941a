"""Every file in configs/papers loads and runs, and every method has one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import walkers_dist as wd
from walkers_dist.config.load import load
from walkers_dist.config.papers import PAPERS
from walkers_dist.config.registry import KINDS
from walkers_dist.coupling.theory import downpour_factor, radius

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted((CONFIGS / "papers").glob("*.yaml"))
COMPARED = [path for path in FILES if path.stem != "periods"]


@pytest.mark.parametrize("category", ["coupling", "dynamics"])
def test_every_method_that_has_a_paper_has_a_file(category):
    files = [*FILES, *(CONFIGS / "elementary").glob("*.yaml")]
    used = {getattr(load(path), category).name for path in files}
    assert used >= {name for name in KINDS[category] if PAPERS[category][name]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_says_its_paper_and_what_to_look_at(path):
    comment = "".join(line for line in path.read_text(encoding="utf-8").splitlines(True) if line.startswith("#"))
    assert "Look at:" in comment
    assert path.stem == "sgd" or "arXiv " in comment


@pytest.mark.parametrize("path", COMPARED, ids=lambda path: path.stem)
def test_what_is_compared_is_alike(path):
    """One network, one data set, as many walkers, as many gradients of each, on minibatches of one size."""
    a, b = load(path), load(CONFIGS / "papers" / "sgd.yaml")
    assert (a.landscape.data, a.landscape.model, a.landscape.loss) == (
        b.landscape.data, b.landscape.model, b.landscape.loss,
    )  # fmt: skip
    assert (a.walkers, a.seed, a.dtype, a.dynamics.batch_size) == (b.walkers, b.seed, b.dtype, b.dynamics.batch_size)
    turns = a.walkers if a.exchange.order == "round_robin" else 1
    assert a.steps == b.steps * turns
    assert all(a.steps % every == 0 for every in (a.log.every, a.snapshots.every, a.probes.distances.every))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_runs(path, tmp_path):
    """Long enough for each exchange of its own kind, and for the loss to fall where it is meant to."""
    experiment = load(path)
    turns = experiment.walkers if experiment.exchange.order == "round_robin" else 1
    steps = turns * 2 * max(experiment.coupling.period, getattr(experiment.coupling, "slow_period", 1), 40)
    run = wd.run(path, [f"steps={steps}", f"log.every={steps}"], run_dir=tmp_path / "run", report=False)
    assert run.status == "done"
    (first, last) = (run.results[run.results.step == step].set_index("walker").train_loss for step in (0, steps))
    assert last.map(math.isfinite).all()
    assert (last.drop("center") < first.drop("center")).all()


@pytest.mark.parametrize("period", [4, 16, 64])
def test_rare_exchanges(period, tmp_path):
    """A19, A20: EASGD converges with all of these periods, DOWNPOUR with the first; noise leaves a floor."""
    [path] = [path for path in FILES if path.stem == "periods"]
    factor, slowest = downpour_factor(0.1, 1.0, 4, period), radius(0.1, 1.0, 0.225, 4, period=period)
    assert f"{factor:.2f}" in path.read_text(encoding="utf-8")
    assert slowest < 1

    def losses(name: str) -> tuple[float, float]:
        changed = [f"coupling.name={name}", f"coupling.period={period}", "steps=193"]
        run = wd.run(path, changed, run_dir=tmp_path / name, report=False)
        center = run.results[run.results.walker == "center"].set_index("step").train_loss
        return center[0], center[193]

    first, last = losses("easgd")
    assert last < 1e-3 * first
    first, last = losses("downpour")
    assert last < 1e-2 * first if abs(factor) < 1 else last > factor**4 * first
