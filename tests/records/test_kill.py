"""Whatever a killed process leaves behind reads as whole rows and whole checkpoints (real children, SIGKILL)."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import time

import pytest
import torch

from walkers_dist.records import checkpoints, snapshots
from walkers_dist.records.index import step_folder
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tables import Table, read_rows

COLUMNS = ("step", "walker", "value")
ROWS = 4000


def block(step):
    return [(step, f"w{k}", step + k / 7) for k in range(ROWS)]


def points(step, walkers):
    """Walker -> a point that anybody can recompute."""
    return {walker: torch.full((1000,), step + 0.25 * int(walker[1:] or 0)) for walker in walkers}


def kill_soon(work, *arguments, ready, seconds):
    """Start `work` in a child and kill it a little after `ready()`."""
    child = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    child.start()
    deadline = time.monotonic() + 30
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(seconds)
    assert child.is_alive()
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL


def append_blocks(path, first):
    table = Table(path, COLUMNS)
    for step in itertools.count(first):
        table.append(block(step))


def test_rows_are_whole_or_absent_and_go_on_from_there(tmp_path):
    path, chance, first = tmp_path / "results.csv", random.Random(0), 0
    for _ in range(6):
        before = path.stat().st_size if path.exists() else 0
        kill_soon(
            append_blocks,
            path,
            first,
            ready=lambda before=before: path.exists() and path.stat().st_size > before,
            seconds=chance.random() / 50,
        )
        found = [tuple(row.values()) for row in read_rows(path)]
        first = (len(found) + ROWS - 1) // ROWS
        expected = itertools.chain(*map(block, range(first)))
        assert found == [(str(s), w, f"{v:.17g}") for s, w, v in itertools.islice(expected, len(found))]
        table = Table(path, COLUMNS)
        assert path.read_bytes().endswith(b"\n")
        table.truncate(first := max(first - 1, 0))
        table.close()
    table = Table(path, COLUMNS)
    table.append(block(first))
    unbroken = Table(tmp_path / "unbroken.csv", COLUMNS)
    for step in range(first + 1):
        unbroken.append(block(step))
    assert path.read_bytes() == unbroken.path.read_bytes()


def write_checkpoints(run, first):
    torch.set_num_threads(1)
    parts, pictures = checkpoints.checkpoint_parts(run, keep=2), snapshots.snapshot_parts(run)
    for step in itertools.count(first):
        for collected in (parts, pictures):
            collected.expect(step, ["coordinator", "walkers 0-1", "walkers 2-3"])
        for process, walkers in (("walkers 0-1", ["w0", "w1"]), ("walkers 2-3", ["w2", "w3"]), ("coordinator", ["w"])):
            rows = points(step, walkers)
            state = {"step": step} if process == "coordinator" else None
            named = {walker: {"x": row, "momentum": -row} for walker, row in rows.items()}
            parts.add(step, process, checkpoints.write_checkpoint(run, step, process, named, state), walkers)
            pictures.add(step, process, snapshots.write_snapshot(run, step, process, rows), walkers)


def test_everything_indexed_is_verified_after_every_kill(tmp_path):
    run, chance, newest = RunDirectory(tmp_path), random.Random(1), 0
    for _ in range(6):
        kill_soon(
            write_checkpoints,
            run,
            newest + 1,
            ready=lambda last=newest: step_folder(run.snapshots, last + 2).exists(),
            seconds=chance.random() / 20,
        )
        checkpoint = checkpoints.newest_checkpoint(run)
        assert checkpoint is not None and checkpoint.passed_over == ()
        assert checkpoint.step > newest
        newest = checkpoint.step
        assert checkpoint.state() == {"step": newest}
        for kept in checkpoints.checkpoint_index(run).entries():
            found = checkpoints.open_checkpoint(run, kept.step).tensors(["w0", "w1", "w2", "w3", "w"])
            for walker, point in points(kept.step, found).items():
                assert torch.equal(found[walker]["x"], point) and torch.equal(found[walker]["momentum"], -point)
        steps = snapshots.snapshot_steps(run)
        assert steps == list(range(1, len(steps) + 1)) and len(steps) >= newest - 1
        for walker in ("w0", "w3", "w"):
            assert torch.equal(snapshots.read_snapshot(run, steps[-1], walker), points(steps[-1], [walker])[walker])
        snapshots.snapshot_index(run).truncate(newest + 1)
        if len(snapshots.snapshot_steps(run)) < newest:  # killed between the two seals: do this step again
            newest -= 1
            checkpoints.checkpoint_index(run).truncate(newest + 1)


def count_up(run):
    for number in itertools.count():
        run.update_info(number=number, plan=["walkers"] * 20_000)


def test_run_json_is_never_half_written(tmp_path):
    run, chance = RunDirectory(tmp_path), random.Random(2)
    for _ in range(6):
        run.info.unlink(missing_ok=True)
        kill_soon(count_up, run, ready=run.info.exists, seconds=chance.random() / 20)
        assert run.read_info()["plan"] == ["walkers"] * 20_000


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
