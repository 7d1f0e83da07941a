"""`exchange.order: round_robin`: tick k moves walker k mod p, by the published trajectories and by hand."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import walkers_dist as wd
from walkers_dist import cli
from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.coupling.theory import radius
from walkers_dist.coupling.theory_round_robin import cycle_radius, easgd_cycle, easgd_largest_stable_alpha
from walkers_dist.records.checkpoints import newest_checkpoint

FAMILY = {
    "aeasgd": {"name": "easgd", "alpha": 0.2, "period": 2},
    "gradient_first": {"name": "easgd", "alpha": 0.2, "period": 2, "order": "gradient_first"},
    "downpour": {"name": "downpour", "period": 3},
    "adownpour": {"name": "adownpour", "period": 3},
    "mvadownpour": {"name": "mvadownpour", "period": 3, "a": 0.1},
    "mdownpour": {"name": "mdownpour", "momentum": 0.5},
}


@pytest.fixture
def ticks(program: Any, bowl: Any) -> Any:
    """Runs in this process, in round robin; the state of the center after the last tick is in its checkpoint."""

    def run(coupling: dict[str, Any], more: dict[str, Any] | None = None, **keys: Any) -> Any:
        keys = {"curvature": 1.0, **keys}
        more = {"exchange": {"order": "round_robin"}, "checkpoint": {"every": keys["steps"]}, **(more or {})}
        return program.here(bowl(coupling, more=more, **keys))

    return run


def of_center(run: wd.Run) -> dict[str, float]:
    """What the coupling remembers of a center of one coordinate."""
    return {key: v.item() for key, v in newest_checkpoint(run.directory).tensors(["coupling"])["coupling"].items()}


# ---- published --------------------------------------------------------------------------------------------------


def test_published_aeasgd(ticks: Any, printed: Any) -> None:
    seen = ticks(FAMILY["aeasgd"], walkers=3, steps=30, start=1.0, center_start=1.0, optima=[-1.0, 0.0, 2.0])
    x = [".0348767820", ".4436016546", "1.3536690522"]
    assert seen.x[-1].ravel().tolist() == [printed(digits) for digits in x]
    assert seen.c[-1].item() == printed(".8027630204")


G7 = {"walkers": 2, "steps": 24, "start": 1.0, "center_start": 1.0, "optima": [0.0, 0.5]}


def test_published_downpour(ticks: Any, printed: Any) -> None:
    seen = ticks(FAMILY["downpour"], **G7)
    assert seen.c[-1].item() == printed(".2983692115")
    assert seen.x[-1].ravel().tolist() == [printed(".1919475145"), printed(".3530111552")]


@pytest.mark.parametrize(("name", "z"), [("adownpour", ".6690432486"), ("mvadownpour", ".7733415349")])
def test_published_averages_of_the_center(name: str, z: str, ticks: Any, printed: Any) -> None:
    """What is seen of the center is z; walkers and the center that they move are those of DOWNPOUR."""
    seen, plain = ticks(FAMILY[name], **G7), ticks(FAMILY["downpour"], **G7)
    assert seen.c[-1].item() == printed(z)
    np.testing.assert_array_equal(seen.x, plain.x)
    assert of_center(seen.run) == {"c": plain.c[-1].item(), "k": 8}


def test_published_mdownpour(ticks: Any, printed: Any) -> None:
    seen = ticks({"name": "mdownpour"}, walkers=2, steps=20, lr=0.05, start=1.0, center_start=1.0)
    assert seen.c[-1].item() == printed("-.0800637058")
    assert of_center(seen.run) == {"v": printed(".0867463561")}


A20 = {"curvature": 1.0, "start": 1.0, "center_start": 1.0}


@pytest.mark.parametrize(("period", "c"), [(4, 0.0958), (16, 3.80), (64, 1953.0)])
def test_published_size_of_downpour_and_where_easgd_still_converges(period: int, c: float, ticks: Any) -> None:
    """After the last walker's 12th push, of which the first is empty."""
    last = 11 * period * 4 + 4
    ends = {
        name: abs(ticks({"name": name, "period": period, **keys}, steps=last, every=last, **A20).c[-1].item())
        for name, keys in {"downpour": {}, "easgd": {"alpha": 0.225}}.items()
    }
    assert ends["downpour"] == pytest.approx(c, rel=2e-3)
    assert ends["easgd"] < 0.1 and radius(0.1, 1.0, 0.225, p=4, period=period) < 1


@pytest.mark.parametrize(
    ("alpha", "p", "grows"), [(0.3, 3, "0.6900222988"), (1.01 * 0.857142857, 1, None), (0.99 * 0.857142857, 1, None)]
)
def test_a_cycle_of_easgd_grows_by_its_spectral_radius(
    alpha: float, p: int, grows: str | None, ticks: Any, printed: Any
) -> None:
    """A10; the bound on alpha is the same for all p."""
    rule = {"name": "easgd", "alpha": alpha, "period": 1}
    seen = ticks(rule, walkers=p, lr=0.5, steps=80 * p, every=p, start=1.0, center_start=0.3)
    size = np.linalg.norm(np.concatenate([seen.x[:, :, 0], seen.c], 1), axis=1)
    growth = size[1:] / size[:-1]
    assert growth[-1] == pytest.approx(cycle_radius(easgd_cycle(0.5, 1.0, alpha, p)), rel=0, abs=1e-8)
    assert (growth[-1] < 1) == (alpha < easgd_largest_stable_alpha(0.5, 1.0))
    if grows:
        assert growth[-1].item() == printed(grows)


# ---- by hand ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delta", [0.0, 0.7])
def test_every_tick_of_aeasgd_and_aeamsgd(delta: float, ticks: Any) -> None:
    """Algorithms 1 and 2, one walker and one number after the other; walkers start apart, the period changes."""
    start, optima, h, eta = [1.0, -2.0, 3.0], [0.2, -0.1, 0.4], np.array([0.3, 1.0]), 0.1
    seen = ticks(
        {"name": "easgd", "alpha": 0.2, "period": 3}, walkers=3, steps=30, dim=2, curvature=[0.3, 1.0], start=start,
        center_start=0.7, optima=optima, dynamics={"name": "nesterov", "momentum": delta},
        more={"schedule": [{"at": 14, "set": {"coupling.period": 2}}]},
    )  # fmt: skip
    c, x, v, clocks = np.full(2, 0.7), [np.full(2, at) for at in start], [np.zeros(2)] * 3, [0] * 3
    for k in range(30):
        np.testing.assert_allclose(seen.x[k], x, rtol=0, atol=1e-14)
        np.testing.assert_allclose(seen.c[k], c, rtol=0, atol=1e-14)
        i = k % 3
        d = 0.2 * (x[i] - c) if clocks[i] % (3 if k < 14 else 2) == 0 else 0.0
        v[i] = delta * v[i] - eta * h * (x[i] + delta * v[i] - optima[i])
        x[i], c, clocks[i] = x[i] + v[i] - d, c + d, clocks[i] + 1


def test_without_gradients_aeasgd_conserves_the_sum(ticks: Any) -> None:
    for order in ("simultaneous", "gradient_first"):
        rule = {"name": "easgd", "alpha": 0.3, "period": 2, "order": order}
        seen = ticks(rule, steps=40, curvature=0.0, start=[1.0, 2.0, 3.0, 4.0], center_start=-1.0)
        np.testing.assert_allclose(seen.c + seen.x.sum(axis=1), 9.0, rtol=1e-14)
        assert np.ptp(seen.x[-1]) < 1


def test_one_walker_of_mdownpour_is_msgd(ticks: Any, program: Any, bowl: Any) -> None:
    """To the last bit where no sum is rounded, as in powers of two; with noise up to rounding."""
    exact = {"walkers": 1, "lr": 0.5, "steps": 9, "start": 1.0, "center_start": 1.0, "curvature": 0.5}
    noisy = {"walkers": 1, "steps": 60, "dim": 3, "curvature": [0.3, 1.0, 2.5], "start": 1.0, "noise": 0.3}
    for keys, delta, atol in ((exact, 0.5, 0.0), ({**noisy, "center_start": 1.0}, 0.9, 1e-13)):
        seen = ticks({"name": "mdownpour", "momentum": delta}, **keys)
        plain = program.here(bowl({"name": "none"}, **{**keys, "dynamics": {"name": "nesterov", "momentum": delta}}))
        np.testing.assert_allclose(seen.c, plain.x[:, 0], rtol=0, atol=atol)
        assert np.ptp(seen.c[:, 0]) > 0.5


# ---- in the program ---------------------------------------------------------------------------------------------

DIGITS = {
    "name": "digits", "dtype": "float64", "device": "cpu", "analysts": 0, "walkers": 3, "seed": 3,
    "landscape": {"kind": "network", "data": {"name": "digits", "train_size": 60, "test_size": 20},
                  "model": {"name": "mlp", "hidden": [4]}},
    "dynamics": {"name": "sgd", "lr": 0.05, "momentum": 0.5, "batch_size": 20},
    "exchange": {"order": "round_robin"}, "log": {"every": 5}, "snapshots": {"every": 20},
    "probes": {"distances": {"every": 10}},
}  # fmt: skip


@pytest.mark.parametrize("at", [2, 13])
@pytest.mark.parametrize("coupling", FAMILY)
def test_resumed_in_the_middle_of_a_round(coupling: str, at: int, tmp_path: Any) -> None:
    """At tick 2 the last walker has not moved yet, and remembers nothing."""
    keys = {**DIGITS, "coupling": FAMILY[coupling], "steps": 40}
    whole = wd.run({**keys, "checkpoint": None}, run_dir=tmp_path / "whole", report=False)
    first = wd.run({**keys, "checkpoint": {"every": 1}, "steps": at}, run_dir=tmp_path / "again", report=False)
    again = wd.resume(first, ["steps=40"], report=False)
    for table in ("results", "distances"):
        one, two = getattr(whole, table), getattr(again, table)
        on_the_way = two.step.isin(one.step)  # the end of the first run has rows of its own
        one, two = (rows.drop(columns="elapsed", errors="ignore") for rows in (one, two[on_the_way]))
        assert len(one) > 10 and one.reset_index(drop=True).equals(two.reset_index(drop=True))
    assert all(torch.equal(whole.snapshot(40, name), again.snapshot(40, name)) for name in ("center", "w0", "w2"))


def test_a_walkers_minibatches_and_epochs_are_of_its_own_clock(tmp_path: Any) -> None:
    """A walker that is never pulled goes where it would go alone."""
    keys = {**DIGITS, "steps": 14, "log": {"every": 1}, "coupling": {"name": "easgd", "alpha": 0.0}}
    turns = wd.run(keys, run_dir=tmp_path / "turns", report=False)
    apart = {**keys, "exchange": {}, "coupling": None, "steps": 5, "snapshots": {"every": 1}}
    alone = wd.run(apart, run_dir=tmp_path / "alone", report=False)
    for i, gradients in enumerate([5, 5, 4]):
        moved, there = turns.snapshot(14, f"w{i}"), alone.snapshot(gradients, f"w{i}")
        torch.testing.assert_close(moved, there, rtol=0, atol=1e-14)
    for row in turns.results.itertuples():
        made = row.step / 3 if row.walker == "center" else ceil((row.step - int(row.walker[1:])) / 3)
        assert row.epoch == made / 3


BROKEN = """
from walkers_dist.landscape.quadratic import Quadratic


class Bowl(Quadratic):
    def minibatches(self, walkers, batch_size):
        gradient = super().minibatches(walkers, batch_size)
        return lambda X, t: gradient(X, t).mul_(float("inf") if t == 5 and "w1" in walkers else 1.0)
"""


@pytest.mark.parametrize("coupling", FAMILY)
def test_a_lost_walker_is_invisible_to_the_others(
    coupling: str, ticks: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is lost in its sixth visit, at tick 16."""
    (tmp_path / f"bowl_{coupling}.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    keys = {"kind": f"bowl_{coupling}:Bowl", "walkers": 3, "steps": 60, "start": 1.0, "center_start": 1.0}
    seen = ticks(FAMILY[coupling], {"exchange": {"order": "round_robin", "on_divergence": "isolate"}}, **keys)
    assert np.isfinite(seen.x[16]).all() and not np.isfinite(seen.x[17:, 1]).any()
    assert np.isfinite(seen.x[:, [0, 2]]).all() and np.isfinite(seen.c).all()
    assert abs(seen.c[-1].item()) < abs(seen.c[17].item())


# ---- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "elementary", "tree", "parle", "diloco", "replicated"])
def test_a_coupling_of_all_at_once_does_not_take_turns(name: str, bowl: Any) -> None:
    with pytest.raises(UserError, match=f"^exchange.order = round_robin: must be null with coupling.name = {name}$"):
        parse(bowl({"name": name}, more={"exchange": {"order": "round_robin"}}), "x")


@pytest.mark.parametrize("name", ["adownpour", "mvadownpour", "mdownpour"])
def test_an_asynchronous_coupling_has_no_synchronous_form(name: str, bowl: Any) -> None:
    with pytest.raises(UserError, match=f"^coupling.name = {name}: .*needs exchange.order = round_robin$"):
        parse(bowl({"name": name}, more={"exchange": {"layout": "collective"}}), "x")
    with pytest.raises(UserError, match=f"^exchange.layout = collective: .*{name}"):
        parse(bowl({"name": name}, more={"exchange": {"order": "round_robin", "layout": "collective"}}), "x")


def test_the_layout_of_all_at_once_may_be_named(program: Any, bowl: Any) -> None:
    rule = {"name": "downpour"}
    named, auto = (program.here(bowl(rule, more={"exchange": {"layout": name}})) for name in ("collective", "auto"))
    np.testing.assert_array_equal(named.x, auto.x)


def test_over_processes_it_is_refused_by_name(program: Any, bowl: Any, launcher: Any) -> None:
    experiment = bowl({"name": "mdownpour"}, more={"exchange": {"order": "round_robin"}})
    code, run_dir = program.exit_code(experiment)
    assert code == 2 and not run_dir.exists()
    (line,) = [line for line in launcher.log.read_text().splitlines() if "round_robin" in line]
    assert line.startswith("walkers: exchange.order = round_robin: coupling.name = mdownpour ")


def test_a_resume_keeps_the_order(ticks: Any) -> None:
    seen = ticks(FAMILY["aeasgd"], walkers=3, steps=7)
    for word in ("exchange.order=null", "exchange={on_divergence: stop}"):
        with pytest.raises(UserError, match=r"^exchange.order = null: .*cannot change at a resume"):
            wd.resume(seen.run, [word, "steps=9"], report=False)


def test_a_fork_in_another_order_begins_with_the_points_alone(ticks: Any, tmp_path: Any) -> None:
    """After one tick the first walker alone remembers a step; all that moves then do so at once."""
    momentum = {"dynamics": {"momentum": 0.5}, "walkers": 3, "steps": 1}
    seen = ticks({"name": "downpour"}, **momentum)
    fork = wd.fork(seen.run, step=1, overrides=["exchange.order=null", "steps=2"], run_dir=tmp_path / "f", report=False)
    for name, x in zip(("w0", "w1"), (0.9, 1.0), strict=True):
        assert fork.snapshot(1, name).item() == pytest.approx(x)
        assert fork.snapshot(2, name).item() == pytest.approx(x * 0.9)


@pytest.mark.parametrize("alpha", [0.84, 0.87])
def test_alpha_beyond_the_bound_is_warned_of(alpha: float, ticks: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """All at once the bound would be 0.31; of DOWNPOUR in turns none is known."""
    ticks({"name": "easgd", "alpha": alpha, "period": 1}, walkers=5, lr=0.5, steps=2)
    said = capsys.readouterr().err
    assert ("0 <= alpha <= 0.857143 = (4 - 2 lr h) / (4 - lr h)" in said) == (alpha > 0.857143)
    ticks({"name": "downpour", "period": 16}, lr=0.5, steps=2)
    assert "warning" not in capsys.readouterr().err


def test_a_dry_run_knows_that_one_process_has_all_walkers(
    tmp_path: Any, bowl: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "turns.yaml"
    config.write_text(yaml.safe_dump(bowl({"name": "downpour"}, more={"exchange": {"order": "round_robin"}})))
    assert cli.main(["run", str(config), "--dry-run", "--in-process"]) == 0
    assert "  walkers 0-3 " in capsys.readouterr().out
    assert cli.main(["run", str(config), "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith("walkers: exchange.order = round_robin: ")
