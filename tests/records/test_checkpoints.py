"""A checkpoint belongs to walkers, not to processes; damage is noticed, and an older one serves."""

from __future__ import annotations

import pytest
import torch

from walkers_dist.config.errors import UserError
from walkers_dist.records import checkpoints as cp
from walkers_dist.records.index import step_folder
from walkers_dist.records.run_directory import RunDirectory

WALKERS = ["w0", "w1", "w2", "w3"]


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path)


def population(step):
    """X and momentum [4, 6] of a step, in float64, and the center."""
    X = torch.arange(24, dtype=torch.float64).reshape(4, 6) + step / 3
    return X, X.square(), X.mean(dim=0)


def save(run, step, layout, keep=2, parts=None):
    """Write and seal a checkpoint whose processes hold the rows that `layout` says."""
    X, momentum, center = population(step)
    parts = parts or cp.checkpoint_parts(run, keep)
    names = {f"walkers {k[0]}-{k[-1]}": k for k in layout}
    parts.expect(step, ["coordinator", *names])
    for process, rows in names.items():
        named = {f"w{k}": {"x": X[k], "momentum": momentum[k]} for k in rows}
        parts.add(step, process, cp.write_checkpoint(run, step, process, named), list(named))
    state = {"elapsed": 1.25, "changes": [["dynamics.lr", 0.01]], "name": "käfer"}
    digest = cp.write_checkpoint(run, step, "coordinator", {"center": {"x": center}}, state)
    assert parts.add(step, "coordinator", digest, ["center"]) == [step]
    return state


def assert_is(found, step):
    X, momentum, center = population(step)
    for k, walker in enumerate(WALKERS):
        assert torch.equal(found[walker]["x"], X[k]) and torch.equal(found[walker]["momentum"], momentum[k])
    assert torch.equal(found["center"]["x"], center)


@pytest.mark.parametrize("layout", [[[0], [1], [2], [3]], [[0, 1], [2, 3]], [[0, 1, 2, 3]], [[0, 1, 2], [3]]])
def test_any_layout_reads_what_any_other_wrote(run, layout):
    state = save(run, 200, layout)
    checkpoint = cp.newest_checkpoint(run)
    assert checkpoint.step == 200 and sorted(checkpoint.walkers) == sorted([*WALKERS, "center"])
    assert_is(checkpoint.tensors([*WALKERS, "center"]), 200)
    assert checkpoint.state() == state
    some = checkpoint.tensors(["w1", "w3"])
    assert list(some) == ["w1", "w3"] and torch.equal(some["w3"]["x"], population(200)[0][3])


def test_w1_is_not_w10(run):
    parts = cp.checkpoint_parts(run)
    parts.expect(1, ["walkers 0-11"])
    rows = {f"w{k}": {"x": torch.full((2,), float(k))} for k in range(12)}
    parts.add(1, "walkers 0-11", cp.write_checkpoint(run, 1, "walkers 0-11", rows), list(rows))
    found = cp.newest_checkpoint(run).tensors(["w1"])
    assert list(found) == ["w1"] and found["w1"]["x"].tolist() == [1.0, 1.0]


def test_the_last_ones_are_kept_and_the_leftovers_of_a_kill_go(run):
    cp.write_checkpoint(run, 150, "walkers 0-3", {"w0": {"x": torch.zeros(1)}})
    for step in (200, 400, 600):
        save(run, step, [[0, 1, 2, 3]])
    cp.write_checkpoint(run, 800, "walkers 0-3", {"w0": {"x": torch.zeros(1)}})
    save(run, 700, [[0, 1, 2, 3]])
    assert [entry.step for entry in cp.checkpoint_index(run).entries()] == [600, 700]
    assert sorted(folder.name for folder in run.checkpoints.glob("step-*")) == [
        "step-00000600",
        "step-00000700",
        "step-00000800",
    ]
    with pytest.raises(UserError, match="no step 400: there are 600, 700"):
        cp.open_checkpoint(run, 400)


def test_a_step_done_again_replaces_the_old_one(run):
    for step, layout in ((200, [[0, 1, 2, 3]]), (400, [[0, 1], [2, 3]]), (200, [[0], [1, 2, 3]])):
        save(run, step, layout)
    assert [entry.step for entry in cp.checkpoint_index(run).entries()] == [200]
    assert_is(cp.newest_checkpoint(run).tensors([*WALKERS, "center"]), 200)


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "flipped bit": (flip, "SHA-256"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-8]), "is damaged: .* bytes, .* were written"),
    "emptied": (lambda path: path.write_bytes(b""), "is damaged: 0 bytes"),
    "missing": (lambda path: path.unlink(), "is missing"),
}


@pytest.mark.parametrize("damage, message", DAMAGES.values(), ids=list(DAMAGES))
@pytest.mark.parametrize("file", ["walkers-2-3.safetensors", "coordinator.safetensors"])
def test_an_older_checkpoint_serves_when_the_newest_is_damaged(run, damage, message, file):
    for step in (200, 400):
        save(run, step, [[0, 1], [2, 3]])
    damage(step_folder(run.checkpoints, 400) / file)
    checkpoint = cp.newest_checkpoint(run)
    assert checkpoint.step == 200
    assert len(checkpoint.passed_over) == 1 and f"step-00000400/{file}" in checkpoint.passed_over[0]
    assert_is(checkpoint.tensors([*WALKERS, "center"]), 200)
    damaged = "w2" if file.startswith("walkers") else "center"
    with pytest.raises(UserError, match=message):
        cp.open_checkpoint(run, 400).tensors([damaged])
    damage(step_folder(run.checkpoints, 200) / file)
    with pytest.raises(UserError, match=f"every checkpoint is damaged: .*400/{file}.*200/{file}"):
        cp.newest_checkpoint(run)


def test_before_the_first_there_is_none(run):
    assert cp.newest_checkpoint(run) is None


def test_an_unsealed_checkpoint_does_not_exist(run):
    parts = cp.checkpoint_parts(run)
    parts.expect(200, ["coordinator", "walkers 0-3"])
    parts.add(200, "coordinator", cp.write_checkpoint(run, 200, "coordinator", {}, {}), [])
    assert cp.newest_checkpoint(run) is None


def test_a_walker_that_is_in_no_part_is_named(run):
    save(run, 200, [[0, 1, 2, 3]])
    with pytest.raises(UserError, match="no walker w4 at step 200: there are center, w0, w1, w2, w3"):
        cp.newest_checkpoint(run).tensors(["w0", "w4"])


def test_a_walker_without_tensors_has_none(run):
    parts = cp.checkpoint_parts(run)
    parts.expect(1, ["walkers 0-1"])
    digest = cp.write_checkpoint(run, 1, "walkers 0-1", {"w0": {"x": torch.ones(1)}, "w1": {}})
    parts.add(1, "walkers 0-1", digest, ["w0", "w1"])
    assert cp.newest_checkpoint(run).tensors(["w1"]) == {"w1": {}}
