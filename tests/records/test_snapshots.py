"""Snapshots come into being in order, whole, and never without their digest."""

from __future__ import annotations

import itertools
import json
import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from walkers_dist.config.errors import UserError
from walkers_dist.records import files, snapshots
from walkers_dist.records.files import Digest
from walkers_dist.records.index import Entry, Index, Part, step_folder
from walkers_dist.records.parts import Parts
from walkers_dist.records.run_directory import RunDirectory

PROCESSES = {"coordinator": ["center"], "walkers 0-1": ["w0", "w1"], "walkers 2-2": ["w2"]}


def points(step, walkers):
    return {walker: torch.tensor([step, len(walker), ord(walker[-1])], dtype=torch.float32) for walker in walkers}


def entry(step, last=False):
    return Entry(step, {"a.safetensors": Part(Digest("00", step), ("w0", "wü"))}, last)


@settings(deadline=None, max_examples=50)
@given(order=st.permutations(list(itertools.product([0, 100, 200], PROCESSES))))
def test_steps_are_sealed_whole_and_in_order_however_parts_arrive(order):
    sealed = []
    parts = Parts(sealed.append)
    for step in (0, 100, 200):
        parts.expect(step, PROCESSES, last=step == 200)
    arrived = set()
    for step, process in order:
        returned = parts.add(step, process, Digest(process, step), PROCESSES[process])
        arrived.add((step, process))
        whole = [s for s in (0, 100, 200) if all((s, name) in arrived for name in PROCESSES)]
        wanted = [s for i, s in enumerate((0, 100, 200)) if whole[: i + 1] == [0, 100, 200][: i + 1]]
        assert [e.step for e in sealed] == wanted
        assert returned == wanted[len(wanted) - len(returned) :]
        assert set(parts.pending()) == {0, 100, 200} - set(wanted)
    assert [e.last for e in sealed] == [False, False, True]
    assert sealed[0].parts["walkers-0-1.safetensors"] == Part(Digest("walkers 0-1", 0), ("w0", "w1"))
    assert not parts.pending()


def test_what_is_not_expected_is_refused():
    parts = Parts(lambda entry: None)
    parts.expect(100, ["walkers 0-1"])
    with pytest.raises(ValueError, match="step 100 is expected after step 100"):
        parts.expect(100, ["walkers 0-1"])
    with pytest.raises(KeyError):
        parts.add(200, "walkers 0-1", Digest("", 0), [])
    with pytest.raises(KeyError):
        parts.add(100, "walkers 2-3", Digest("", 0), [])


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "größe 'x' y")
    parts = snapshots.snapshot_parts(run)
    for step in (0, 100):
        parts.expect(step, PROCESSES)
        for process, walkers in PROCESSES.items():
            parts.add(step, process, snapshots.write_snapshot(run, step, process, points(step, walkers)), walkers)
    return run


def test_a_point_is_read_by_step_and_walker(run):
    assert snapshots.snapshot_steps(run) == [0, 100]
    for step, walker in itertools.product((0, 100), ("center", "w0", "w1", "w2")):
        assert torch.equal(snapshots.read_snapshot(run, step, walker), points(step, [walker])[walker])


def test_what_is_not_there_is_named_with_what_is(run):
    with pytest.raises(UserError, match="snapshots: no step 50: there are 0, 100"):
        snapshots.read_snapshot(run, 50, "w0")
    with pytest.raises(UserError, match="no walker w3 at step 100: there are center, w0, w1, w2"):
        snapshots.read_snapshot(run, 100, "w3")


def test_damage_is_found_and_named(run):
    path = step_folder(run.snapshots, 100) / "walkers-0-1.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 128
    path.write_bytes(data)
    for walker in ("w0", "w1"):
        with pytest.raises(UserError, match=r"walkers-0-1.safetensors: is damaged"):
            snapshots.read_snapshot(run, 100, walker)
    assert snapshots.read_snapshot(run, 100, "w2")[0] == 100


def test_patience_waits_for_a_file_that_comes_into_sight_late(run):
    path = step_folder(run.snapshots, 100) / "walkers-2-2.safetensors"
    hidden = path.rename(path.with_suffix(".hidden"))
    with pytest.raises(UserError, match="is missing"):
        snapshots.read_snapshot(run, 100, "w2", patience=0.1)
    timer = threading.Timer(0.2, hidden.rename, [path])
    start = time.monotonic()
    timer.start()
    assert snapshots.read_snapshot(run, 100, "w2", patience=20)[0] == 100
    assert 0.1 < time.monotonic() - start < 15


def test_a_half_written_file_never_has_the_name(tmp_path, monkeypatch):
    path = tmp_path / "part.safetensors"
    old = files.write_tensors(path, {"w0": torch.zeros(3)})
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write_tensors(path, {"w0": torch.ones(3)})
    assert files.read_tensors(path, old)["w0"].tolist() == [0, 0, 0]


def test_rows_of_one_matrix_and_any_shape_come_back(tmp_path):
    X = torch.arange(12.0).reshape(4, 3)
    tensors = {"w0/x": X[0], "w1/x": X[1], "w1/t": X.t()[1], "w2/count": torch.tensor(3), "w2/none": torch.zeros(0)}
    digest = files.write_tensors(tmp_path / "p", tensors, {"state": "ü"})
    found = files.read_tensors(tmp_path / "p", digest)
    assert found.keys() == tensors.keys() and all(torch.equal(found[k], tensors[k]) for k in tensors)
    assert files.read_metadata(tmp_path / "p") == {"state": "ü"}


def test_an_index_cut_anywhere_keeps_its_whole_lines_and_goes_on(tmp_path):
    index = Index(tmp_path / "folder" / "index.jsonl")
    assert index.entries() == []
    entries = [entry(step, last=step == 200) for step in (0, 100, 200)]
    for one in entries:
        index.append(one)
    assert index.entries() == entries
    whole = index.path.read_bytes()
    assert json.loads(whole.splitlines()[2]) == {
        "step": 200,
        "files": {"a.safetensors": {"sha256": "00", "size": 200, "walkers": ["w0", "wü"]}},
        "last": True,
    }
    for length in range(len(whole)):
        index.path.write_bytes(whole[:length])
        kept = whole[:length].count(b"\n")
        assert index.entries() == entries[:kept]
        index.append(entries[kept])
        assert index.entries() == entries[: kept + 1]


def test_an_index_can_be_cut_at_a_step(tmp_path):
    index = Index(tmp_path / "index.jsonl")
    for step in (0, 100, 200):
        index.append(entry(step))
    index.truncate(100)
    assert index.entries() == [entry(0)]
    index.append(entry(100))
    assert [e.step for e in index.entries()] == [0, 100]


@pytest.mark.parametrize("line", [b"\0\0\0\n", b"{}\n", b"[]\n", b'{"step": 1, "files": [], "last": false}\n'])
def test_a_damaged_line_is_named(tmp_path, line):
    index = Index(tmp_path / "index.jsonl")
    index.path.write_bytes(entry(0).to_line() + line)
    with pytest.raises(UserError, match=r"index.jsonl: line 2 is damaged"):
        index.entries()
