"""The three modes of elementary-walkers (SPEC E.1, `n_workers`, `alpha`): elastic, gd_reference and solo.

Of *gd_reference* the center is the original's worker 0: full-batch gradient descent with the walkers' learning rate and
momentum (SPEC F, row 3), here against `torch.optim.SGD` on its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import walkers_dist as wd
from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.coupling.none import NoCoupling
from walkers_dist.records.checkpoints import open_checkpoint

STEPS, LATER, L2 = 60, 25, 0.01
GD_REFERENCE = {"name": "none", "center": "gd"}
NETWORK = {
    "kind": "network", "data": {"name": "digits", "train_size": 101, "test_size": 20},
    "model": {"hidden": [6, 5], "activation": "tanh"}, "l2": L2, "init": {"same": False},
}  # fmt: skip
"""101 samples, so that the shares of two processes differ."""
OPTIONS = {
    "plain": {"momentum": 0.0},
    "Torch7": {"momentum": 0.5, "dampening": 0.5},
    "momentum and decay": {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.02},
    "Nesterov": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.02},
}


def reference(dynamics: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """Two walkers on minibatches; the learning rate falls on the way."""
    return {
        "name": "reference", "dtype": "float64", "device": "cpu", "analysts": 0, "walkers": 2, "steps": STEPS,
        "landscape": NETWORK, "dynamics": {"name": "sgd", "lr": 0.3, "batch_size": 20, **dynamics},
        "coupling": GD_REFERENCE, "schedule": [{"at": LATER, "set": {"dynamics.lr": 0.1}}],
        "log": {"every": 10}, "snapshots": {"every": 20}, "checkpoint": {"every": 40}, **keys,
    }  # fmt: skip


def by_torch(run: wd.Run, options: dict[str, Any], make: Any = torch.optim.SGD) -> Tensor:
    """The course [STEPS + 1, P] of a full-batch run from where the center began, by a torch module."""
    net: nn.Module = run.model(0, "center")
    x, y = run.landscape.inputs["train"], run.landscape.targets["train"].argmax(1)
    optimizer = make(net.parameters(), lr=0.3, **options)
    seen = [nn.utils.parameters_to_vector(net.parameters()).detach().clone()]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y) + L2 / 2 * sum(w.square().sum() for w in net.parameters())
        loss.backward()
        return loss

    for t in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.3 if t < LATER else 0.1
        optimizer.step(closure)
        seen.append(nn.utils.parameters_to_vector(net.parameters()).detach().clone())
    return torch.stack(seen)


def center(run: wd.Run) -> Tensor:
    return torch.stack([run.snapshot(t, "center") for t in run.steps])


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def tables(run: wd.Run) -> tuple[Any, Tensor]:
    """What equal runs have in common."""
    points = [run.snapshot(t, name) for t in run.steps for name in ("center", "w0", "w1")]
    return run.results.drop(columns="elapsed"), torch.stack(points)


def cut_back(run: wd.Run) -> None:
    """Damage the last checkpoint: a resume begins at 40."""
    for part in (run.path / "checkpoints" / f"step-{STEPS:08d}").iterdir():
        part.write_bytes(b"damaged")


# ---- gd_reference -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", ["sgd", "gd"])
def test_the_center_is_an_independent_full_batch_run(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    dynamics = {"name": name, **options, **({"batch_size": None} if name == "gd" else {})}
    run = wd.run(reference(dynamics), run_dir=tmp_path / "run", report=False)
    expected = by_torch(run, options)
    same(center(run), expected[:: STEPS // 3])
    rows = run.results[run.results.walker == "center"].set_index("step")
    loss = run.landscape.loss(expected[::10])
    assert rows.train_loss.to_list() == pytest.approx(loss.tolist(), rel=1e-12)
    assert (expected[-1] - run.snapshot(STEPS, "w0")).norm() > 1e-3


def test_the_center_of_lbfgs_is_an_independent_run_of_lbfgs(tmp_path: Path) -> None:
    experiment = reference({"name": "lbfgs", "batch_size": None})
    run = wd.run(experiment, run_dir=tmp_path / "run", report=False)
    options = {"max_iter": 1, "history_size": 10, "tolerance_grad": 0, "tolerance_change": -1e300}
    torch.testing.assert_close(
        center(run), by_torch(run, options, torch.optim.LBFGS)[:: STEPS // 3], rtol=0, atol=1e-10
    )


def test_over_gloo_and_resumed_by_one_process_and_by_two(tmp_path: Path) -> None:
    """Two processes sum their shares of the data, and their replicas stay equal, or the run fails at a report."""
    options = {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.02}
    experiment = reference(options, walkers_per_process=1)
    run = wd.run(experiment, run_dir=tmp_path / "run", in_process=False, report=False)
    expected = by_torch(run, options)
    assert [seat["name"] for seat in run.info["plan"]] == ["coordinator", "walkers 0", "walkers 1"]
    same(center(run), expected[:: STEPS // 3])
    written = open_checkpoint(run.directory, STEPS)
    assert written.walkers.count("descent") == 1
    rows, points = tables(run)
    cut_back(run)
    again = wd.resume(run.path, in_process=False, report=False)
    assert again.info["begin"] == 40
    assert tables(again)[0].equals(rows) and torch.equal(tables(again)[1], points)
    cut_back(again)
    alone = wd.resume(run.path, report=False)
    same(center(alone), expected[:: STEPS // 3])
    same(tables(alone)[1], points)


@pytest.mark.parametrize("dynamics", [OPTIONS["Torch7"], {"name": "lbfgs", "batch_size": None}])
def test_resumed_in_the_middle_it_makes_the_same_tables(dynamics: dict[str, Any], tmp_path: Path) -> None:
    whole = wd.run(reference(dynamics), run_dir=tmp_path / "whole", report=False)
    again = wd.run(reference(dynamics), run_dir=tmp_path / "again", report=False)
    cut_back(again)
    again = wd.resume(again.path, report=False)
    assert again.info["begin"] == 40
    assert tables(again)[0].equals(tables(whole)[0]) and torch.equal(tables(again)[1], tables(whole)[1])


def test_the_center_descends_the_surface_that_is_common_to_all(program: Any, bowl: Any) -> None:
    """c_t = m + (1 - lr h)^t (c_0 - m), m the mean of the walkers' optima, whatever their noise."""
    experiment = bowl(
        GD_REFERENCE, steps=20, walkers=2, curvature=2.0, optima=[1.0, -0.5], start=[3.0, 1.0], noise=0.7,
        center_start=5.0,
    )  # fmt: skip
    seen = program.here(experiment)
    expected = [0.25 + (1 - 0.1 * 2.0) ** t * (5.0 - 0.25) for t in seen.steps]
    assert seen.c.ravel().tolist() == pytest.approx(expected, rel=1e-13)


def test_the_walkers_do_not_see_the_center(tmp_path: Path) -> None:
    with_it = wd.run(reference({}), run_dir=tmp_path / "with", report=False)
    without = wd.run(reference({}, coupling=None), run_dir=tmp_path / "without", report=False)
    for walker in ("w0", "w1"):
        assert torch.equal(with_it.snapshot(STEPS, walker), without.snapshot(STEPS, walker))


def test_what_it_says_of_itself() -> None:
    gd, mean = NoCoupling(center="gd"), NoCoupling()
    assert gd.events(0) == ("gradient", "dynamics", "descend") and mean.events(0) == ("gradient", "dynamics")
    assert (gd.descends, gd.follows_mean) == (True, False) and (mean.descends, mean.follows_mean) == (False, True)


# ---- the modes, by name -----------------------------------------------------------------------------------------

MODES = {
    "elastic": ({"walkers": 2, "coupling": {"name": "elementary", "alpha": 0.1}}, True),
    "gd_reference": ({"walkers": 2, "coupling": GD_REFERENCE}, True),
    "gd_reference of one walker": ({"walkers": 1, "coupling": GD_REFERENCE}, True),
    "the mean": ({"walkers": 2, "coupling": None}, True),
    "solo": ({"walkers": 1, "coupling": None}, False),
}


@pytest.mark.parametrize(("keys", "has_center"), MODES.values(), ids=MODES)
def test_mode(keys: dict[str, Any], has_center: bool, tmp_path: Path) -> None:
    """Which rows there are, and what moves the center in the first step: c_0 = 2, walkers at 1, h = 1, lr = 0.1."""
    bowl = {"kind": "quadratic", "start": 1.0, "center_start": 2.0}
    experiment = {
        "name": "mode", "dtype": "float64", "analysts": 0, "steps": 1, "landscape": bowl,
        "dynamics": {"momentum": 0.0}, **keys,
    }  # fmt: skip
    run = wd.run(experiment, run_dir=tmp_path / "run", report=False)
    walkers = [f"w{i}" for i in range(keys["walkers"])]
    assert run.config.has_center is has_center
    assert run.results.walker.to_list() == 2 * ([*["center"] * has_center, *walkers])
    name = (keys["coupling"] or {}).get("center") or (keys["coupling"] or {"name": "mean"})["name"]
    moved = {"elementary": 0.9 - 0.1 * (0.9 - 2), "gd": 1.8, "mean": 0.9}[name]
    if has_center:
        assert run.snapshot(1, "center").item() == pytest.approx(moved, abs=1e-15)
    assert run.snapshot(1, "w0").item() == pytest.approx(moved if name == "elementary" else 0.9, abs=1e-15)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"walkers": 0}, "walkers = 0: must be at least 1"),  # with alpha the original's center is 0/0
        ({"walkers": 0, "coupling": {"name": "elementary"}}, "walkers = 0: must be at least 1"),
        (
            {"coupling": {"name": "none", "alpha": 0.1}},
            "unknown key coupling.alpha; known in coupling: name, period, center",
        ),
        (
            {"coupling": {"name": "easgd", "center": "gd"}},
            "unknown key coupling.center; known in coupling: name, period, alpha, beta, order",
        ),
        (
            {"coupling": {"name": "elementary", "center": "gd"}},
            "unknown key coupling.center; known in coupling: name, period, alpha, rescale",
        ),
        ({"coupling": {"name": "none", "center": "sgd"}}, "coupling.center = sgd: must be mean or gd"),
        (
            {"walkers": 1, "coupling": None, "stop": {"of": "center"}},
            "stop.of = center: there is no center with walkers = 1 and no coupling",
        ),
        ({"walkers": 1, "coupling": None, "curvature": {"of": ["center"]}}, "curvature.of = center: must be of w0"),
    ],
)
def test_impossible_combinations_are_refused(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(keys, "x")
    assert str(caught.value) == line


def test_the_kind_of_center_does_not_change_while_running() -> None:
    keys = {"coupling": GD_REFERENCE, "schedule": [{"at": 3, "set": {"coupling.center": "mean"}}]}
    with pytest.raises(UserError, match=r"^schedule\.0: coupling\.center = mean: cannot change while running"):
        parse(keys, "x")


def test_curvature_of_one_walker_and_its_reference_has_the_center_by_default() -> None:
    one = {"walkers": 1, "curvature": {}}
    assert parse({**one, "coupling": GD_REFERENCE}, "x").curvature.of == ("center", "w0")
    assert parse({**one, "coupling": {"name": "none"}}, "x").curvature.of == ("w0",)
