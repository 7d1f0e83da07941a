"""Runs that begin where another stands: equal to what that one went on to do, or changed as was asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import walkers_dist as wd
from walkers_dist.records.checkpoints import checkpoint_index, open_checkpoint
from walkers_dist.records.snapshots import read_snapshot
from walkers_dist.records.tables import read_rows
from walkers_dist.roles.coordinator import Coordinator
from walkers_dist.roles.forking import Fork

BOWL: dict[str, Any] = {
    "name": "bowl",
    "landscape": {"kind": "quadratic", "dim": 5, "curvature": 0.5, "noise": 0.1, "start": [1, 2, 3]},
    "walkers": 3,
    "steps": 40,
    "dynamics": {"name": "sgd", "lr": 0.1, "momentum": 0.5},
    "coupling": {"name": "easgd", "period": 3},
    "schedule": [{"at": 10, "set": {"dynamics.lr": 0.05}}, {"at": 30, "set": {"dynamics.lr": 0.01, "log.every": 2}}],
    "log": {"every": 5},
    "snapshots": {"every": 5},
    "checkpoint": {"every": 10, "keep": 9},
    "probes": {"distances": {"every": 10}},
    "curvature": {"every": 10, "of": ["w1"], "top": 1, "bottom": 0, "full": "never"},
}
COUPLINGS: dict[str, dict[str, Any]] = {
    "easgd": {},
    "elementary": {"coupling": {"name": "elementary", "alpha": 0.1}},
    "center that descends": {"coupling": {"name": "none", "center": "gd"}},
    "mean": {"coupling": None},
    "lbfgs": {"dynamics": {"name": "lbfgs", "lr": 0.1, "history": 3}},
    "solo": {"coupling": None, "walkers": 1, "curvature": None, "landscape": {"kind": "quadratic", "noise": 0.1}},
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """New runs lie in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def bowl(tmp_path_factory: pytest.TempPathFactory) -> wd.Run:
    """A parent that several tests fork."""
    return wd.run(BOWL, run_dir=tmp_path_factory.mktemp("runs") / "bowl", report=False)


def rows(run: wd.Run, table: str, begin: int = 0) -> list[dict[str, str]]:
    """The text of a table from a step on, without what equal runs do not share."""
    left_out = ("elapsed", "time", "source")
    return [
        {key: cell for key, cell in row.items() if key not in left_out}
        for row in read_rows(run.directory.table(table))
        if int(row["step"]) >= begin and row.get("source") not in ("resume", "stop")
    ]


def last_checkpoint(run: wd.Run) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    checkpoint = open_checkpoint(run.directory, checkpoint_index(run.directory).entries()[-1].step)
    return checkpoint.tensors(checkpoint.walkers), checkpoint.state()


def goes_on_as(parent: wd.Run, fork: wd.Run, begin: int) -> None:
    """The fork holds, bit for bit, what its parent holds from there on."""
    for table in ("results", "distances", "eigenvalues", "events"):
        assert rows(fork, table) == rows(parent, table, begin), table
    assert fork.steps == [step for step in parent.steps if step >= begin]
    for step in fork.steps:
        for name in fork.config.point_names:
            assert torch.equal(fork.snapshot(step, name), parent.snapshot(step, name)), (step, name)
    (tensors, state), (expected, state_then) = last_checkpoint(fork), last_checkpoint(parent)
    assert {walker: sorted(named) for walker, named in tensors.items()} == {w: sorted(n) for w, n in expected.items()}
    for walker, named in expected.items():
        assert all(torch.equal(tensors[walker][key], value) for key, value in named.items()), walker
    assert all((state[key] or None) == (state_then[key] or None) for key in ("stop", "stopped"))


def at(run: wd.Run, step: int, walker: str) -> Tensor:
    return read_snapshot(run.directory, step, walker)


# ---- nothing is changed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COUPLINGS)
def test_a_fork_without_overrides_goes_on_as_its_parent(name: str, here: Path) -> None:
    parent = wd.run({**BOWL, **COUPLINGS[name]}, run_dir=here / "parent", report=False)
    for step in (10, 20):
        fork = wd.fork(parent, step, report=False)
        goes_on_as(parent, fork, step)
        assert fork.info["parent"] == {"run": str(parent.path), "step": step, "from": "checkpoint"}
        assert fork.path.parent == here / "runs" and fork.path.name.startswith("bowl-")


def test_over_processes(bowl: wd.Run) -> None:
    """Every process reads the checkpoint from the new run directory."""
    fork = wd.fork(bowl, 20, ["walkers_per_process=3"], in_process=False, report=False)
    assert len(fork.info["plan"]) == 3
    goes_on_as(bowl, fork, 20)


def test_a_rule_that_has_decided_is_carried_out(here: Path) -> None:
    """Between the rows that met `stop` and the report at which walkers hear of it lies every seventh checkpoint."""
    rule = {"metric": "train_loss", "of": "mean", "below": 0.2}
    keys = {
        "stop": rule,
        "steps": 400,
        "schedule": [],
        "control": {"every": 7},
        "checkpoint": {"every": 1, "keep": 999},
    }
    parent = wd.run({**BOWL, **keys}, run_dir=here / "parent", report=False)
    end = parent.steps[-1]
    assert end < 400
    for step in range(end - 8, end + 1):
        fork = wd.fork(parent, step, run_dir=here / f"fork {step}", report=False)
        goes_on_as(parent, fork, step)


def test_a_fork_that_is_interrupted_is_resumed_like_any_run(
    bowl: wd.Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also before its first checkpoint of its own; where it comes from is not forgotten."""
    step = Coordinator.step
    for number, dies in enumerate((23, 37)):

        def dying(self: Coordinator, t: int, dies: int = dies) -> None:
            if t == dies:
                raise KeyboardInterrupt
            step(self, t)

        monkeypatch.setattr(Coordinator, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            wd.fork(bowl, 20, run_dir=here / str(number), report=False)
        monkeypatch.setattr(Coordinator, "step", step)
        fork = wd.resume(here / str(number), report=False)
        goes_on_as(bowl, fork, 20)
        assert fork.info["parent"] == {"run": str(bowl.path), "step": 20, "from": "checkpoint"}


def test_the_last_checkpoint_is_where_it_begins_by_default(
    bowl: wd.Run, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fork = wd.fork(bowl, overrides=["steps=60"], report=False)
    assert fork.info["parent"]["step"] == 40 and set(fork.results["step"]) == set(range(40, 61, 2))
    assert capsys.readouterr().err == ""
    again = wd.fork(fork.path, report=False)
    assert again.info["parent"] == {"run": str(fork.path), "step": 60, "from": "checkpoint"}
    goes_on_as(fork, again, 60)
    line = "the run ends at step 60, where it begins: a larger steps, or another stop, takes it on\n"
    assert capsys.readouterr().err == line


def test_a_damaged_checkpoint_is_passed_over(bowl: wd.Run, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By default for the one before it; where its step is named, for the snapshot of that step."""
    parent = wd.open_run(shutil.copytree(bowl.path, here / "parent"))
    part = parent.path / "checkpoints/step-00000040/coordinator.safetensors"
    data = part.read_bytes()
    part.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    fork = wd.fork(parent, report=False)
    assert fork.info["parent"]["step"] == 30
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {part}: is damaged") and said.count("\n") == 1
    assert wd.fork(parent, 40, report=False).info["parent"] == {"run": str(parent.path), "step": 40, "from": "snapshot"}


# ---- what was changed before ------------------------------------------------------------------------------------


def test_changes_of_the_past_are_in_the_configuration(bowl: wd.Run) -> None:
    """The schedule up to the step has acted, the rest of it is to come; the checkpoint is of before its step."""
    for step, lr, entries in ((10, 0.1, 2), (20, 0.05, 1), (30, 0.05, 1), (40, 0.01, 0)):
        config = wd.fork(bowl, step, report=False).config
        assert config.dynamics.lr == lr and config.schedule == bowl.config.schedule[2 - entries :]
        assert config.log.every == (2 if step == 40 else 5)


def test_changes_by_hand_too(here: Path) -> None:
    wd.run({**BOWL, "schedule": [], "steps": 20}, run_dir=here / "parent", report=False)
    parent = wd.resume(here / "parent", ["steps=40", "dynamics.lr=0.02"], report=False)
    assert wd.fork(parent, 20, report=False).config.dynamics.lr == 0.1  # it acts at 20: after the state of 20
    late = wd.fork(parent, 30, report=False)
    assert late.config.dynamics.lr == 0.02 and late.config.steps == 40
    goes_on_as(parent, late, 30)


# ---- what is changed --------------------------------------------------------------------------------------------


def test_from_a_snapshot_with_zero_momentum(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Against the recursion v <- m v + h x, x <- x - lr v, begun with v = 0."""
    keys = {"landscape": {"kind": "quadratic", "curvature": 0.5}, "coupling": None, "schedule": [], "dtype": "float64"}
    parent = wd.run({**BOWL, **keys}, run_dir=here / "parent", report=False)
    capsys.readouterr()
    fork = wd.fork(parent, 15, report=False)
    line = "step 15 has no checkpoint: the fork begins at its snapshot, with zero momentum\n"
    assert capsys.readouterr().err == line
    assert fork.info["parent"] == {"run": str(parent.path), "step": 15, "from": "snapshot"}
    x, v = float(at(parent, 15, "w1")), 0.0
    for step in range(15, 41):
        if step % 5 == 0:
            assert float(at(fork, step, "w1")) == pytest.approx(x, abs=1e-15)
        v = 0.5 * v + 0.5 * x
        x -= 0.1 * v
    assert abs(float(at(fork, 20, "w1") - at(parent, 20, "w1"))) > 1e-3  # the parent had kept its momentum
    then = [float(row["elapsed"]) for row in read_rows(parent.directory.table("results")) if row["step"] == "15"]
    assert fork.results["elapsed"].min() >= then[0] > 0


def test_any_key_may_change(bowl: wd.Run) -> None:
    """Seed and landscape too: the first rows are those of the same points on another surface."""
    fork = wd.fork(bowl, 20, ["seed=7", "landscape.curvature=2.0", "name=steep", "schedule=[]"], report=False)
    assert fork.path.name.startswith("steep-") and fork.config.seed == 7 and fork.config.schedule == ()
    was, now = (run.results.query("step == 20").set_index("walker")["train_loss"] for run in (bowl, fork))
    assert now.values == pytest.approx(4 * was.values, rel=1e-6)


def test_fewer_walkers_are_the_first_ones(here: Path) -> None:
    """Without forces they go on as they did; the center is their mean. Numbers for each walker are the first ones."""
    optima = {**BOWL["landscape"], "optima": [0.0, 1.0, 2.0]}
    parent = wd.run({**BOWL, "coupling": None, "landscape": optima}, run_dir=here / "parent", report=False)
    fork = wd.fork(parent, 20, ["walkers=2"], report=False)
    assert fork.config.landscape.optima == (0, 1)
    of_walkers = [row for row in rows(parent, "results", 20) if row["walker"] in ("w0", "w1")]
    assert [row for row in rows(fork, "results") if row["walker"] != "center"] == of_walkers
    assert torch.allclose(at(fork, 25, "center"), (at(parent, 25, "w0") + at(parent, 25, "w1")) / 2)


def test_fewer_walkers_around_the_same_center(bowl: wd.Run) -> None:
    fork = wd.fork(bowl, 20, ["walkers=2"], report=False)
    assert torch.equal(at(fork, 20, "center"), at(bowl, 20, "center"))


def test_a_center_that_was_not_there_begins_at_the_mean(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parent = wd.run({**BOWL, **COUPLINGS["solo"]}, run_dir=here / "parent", report=False)
    capsys.readouterr()
    fork = wd.fork(parent, 20, ["coupling.name=easgd"], report=False)
    assert torch.equal(at(fork, 20, "center"), at(parent, 20, "w0"))
    assert capsys.readouterr().err == f"{parent.path} has no center: it begins at the mean of the walkers\n"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_another_precision(bowl: wd.Run, here: Path, dtype: str) -> None:
    other = {"float64": "float32", "float32": "float64"}[dtype]
    parent = wd.run({**BOWL, "dtype": other}, run_dir=here / "parent", report=False)
    fork = wd.fork(parent, 20, [f"dtype={dtype}"], report=False)
    for name in ("center", "w2"):
        assert torch.equal(at(fork, 20, name), at(parent, 20, name).to(getattr(torch, dtype)))
        assert torch.allclose(at(fork, 30, name).double(), at(parent, 30, name).double(), atol=1e-2)


def test_other_dynamics_begin_without_a_memory(bowl: wd.Run, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As from the snapshot of that step, which holds points alone."""
    forgetful = wd.open_run(shutil.copytree(bowl.path, here / "forgetful"))
    (forgetful.path / "checkpoints/index.jsonl").write_text("")
    words = ["dynamics={name: lbfgs, lr: 0.1}", "schedule=[]"]
    capsys.readouterr()
    fork = wd.fork(bowl, 20, words, report=False)
    assert capsys.readouterr().err == "dynamics.name = lbfgs: what sgd remembered is dropped\n"
    assert rows(fork, "results") == rows(wd.fork(forgetful, 20, words, report=False), "results")


def test_dynamics_that_remember_alike_keep_their_memory(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no noise, `gd` goes on as `sgd` did, momentum included."""
    quiet = {"landscape": {**BOWL["landscape"], "noise": 0.0}, "curvature": None}
    parent = wd.run({**BOWL, **quiet}, run_dir=here / "parent", report=False)
    capsys.readouterr()
    fork = wd.fork(parent, 20, ["dynamics.name=gd"], report=False)
    assert capsys.readouterr().err == ""
    assert rows(fork, "results") == rows(parent, "results", 20)


# ---- nothing is left behind -------------------------------------------------------------------------------------


def test_a_parent_that_breaks_while_it_is_copied(bowl: wd.Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = wd.open_run(shutil.copytree(bowl.path, here / "parent"))
    check = Fork.check_points

    def and_then_it_is_gone(self: Fork, landscape: Any) -> None:
        check(self, landscape)
        shutil.rmtree(parent.path / "checkpoints/step-00000020")

    monkeypatch.setattr(Fork, "check_points", and_then_it_is_gone)
    with pytest.raises(wd.UserError, match=r"step-00000020/.* is missing$"):
        wd.fork(parent, 20, report=False)
    assert [path.name for path in here.iterdir()] == ["parent"]


def test_it_is_no_run_before_its_checkpoint_is_there(bowl: wd.Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in between, it cannot be taken for a run that begins at step 0."""
    write, seen = Fork.write, list[bool]()

    def watched(self: Fork, run: Any, landscape: Any) -> Any:
        made = write(self, run, landscape)
        seen.append(run.info.exists())
        return made

    monkeypatch.setattr(Fork, "write", watched)
    fork = wd.fork(bowl, 20, report=False)
    assert seen == [False] and json.loads(fork.directory.info.read_text())["begin"] == 20


def test_the_parent_is_left_as_it_was(bowl: wd.Run) -> None:
    def contents() -> Mapping[Path, bytes]:
        return {path: path.read_bytes() for path in bowl.path.rglob("*") if path.is_file()}

    before = contents()
    wd.fork(bowl, 20, ["walkers=2"], report=False)
    wd.midpoint(bowl, "w0", "w1", report=False)
    assert contents() == before
