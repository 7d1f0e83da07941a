"""A file that is replaced has its old contents until the new ones are on the disk, whoever replaces it."""

from __future__ import annotations

import pytest

from walkers_dist.records import disk
from walkers_dist.records.files import Digest
from walkers_dist.records.index import Entry, Index, Part
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tables import Table


def plain(folder):
    disk.replace(folder / "file", b"old")
    return folder / "file", lambda: disk.replace(folder / "file", b"new")


def info(folder):
    run = RunDirectory(folder)
    run.write_info({"status": "running"})
    return run.info, lambda: run.update_info(status="done")


def table(folder):
    table = Table(folder / "results.csv", ("step", "walker"))
    table.append([(0, "w0"), (1, "w0")])
    return table.path, lambda: table.truncate(1)


def index(folder):
    index = Index(folder / "index.jsonl")
    for step in (0, 1):
        index.append(Entry(step, {"a": Part(Digest("", 0), ("w0",))}))
    return index.path, lambda: index.truncate(1)


@pytest.mark.parametrize("make", [plain, info, table, index])
def test_the_new_contents_are_on_the_disk_before_they_take_the_name(tmp_path, monkeypatch, make):
    path, change = make(tmp_path)
    old = path.read_bytes()

    def full_disk(fd):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_disk)
        with pytest.raises(OSError, match="disk full"):
            change()
    assert path.read_bytes() == old
    change()
    assert path.read_bytes() != old
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_where_a_file_cannot_be_put_nothing_is_left_beside_it(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        disk.replace(tmp_path / "taken", b"text")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
