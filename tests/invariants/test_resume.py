"""Invariant 3 in one process: killed at any write it makes, a run that is resumed ends with equal tables, bit for bit.

The run is a forked child that kills itself before, or half-way through, the n-th change it makes to its directory, so
every window between two writes is within reach; what several processes add is in test_resume_processes.py.
"""

from __future__ import annotations

import itertools
import random
import shutil
import signal
from pathlib import Path

import pytest

import walkers_dist as wd


def goes_on(run):
    """The step that a resume of this run begins at."""
    from walkers_dist.records.checkpoints import newest_checkpoint
    from walkers_dist.records.run_directory import RunDirectory

    checkpoint = newest_checkpoint(RunDirectory(run))
    return checkpoint.step if checkpoint else 0


def writes_rows_of(*steps):
    """Dies as it writes the rows of one of these steps."""
    first = tuple(f"{step},".encode() for step in steps)
    return lambda path, data: path.endswith("/results.csv") and data.startswith(first)


def writes_rows_with(number, of):
    """Dies as it writes rows when so many checkpoints (or snapshots) are complete."""

    def dies(path, data):
        index = Path(path).with_name(of) / "index.jsonl"
        return path.endswith("/results.csv") and index.exists() and index.read_bytes().count(b"\n") >= number

    return dies


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """`reference(**changes)`: what a run of `DIGITS` with these keys changed leaves behind, undisturbed."""
    known = {}

    def make(config):
        if (key := repr(config)) not in known:
            folder = tmp_path_factory.mktemp("reference")
            known[key] = wd.run(config, run_dir=folder / "run", report=False).path
        return known[key]

    return make


@pytest.mark.parametrize("seed", range(8))
def test_killed_at_any_write_again_and_again(seed, forked, tools, tmp_path, in_process):
    chance, run = random.Random(seed), tmp_path / "run"
    for number in range(5):
        begun = (run / "run.json").exists()
        if not begun:  # it was killed before there was a run
            run = tmp_path / f"run {number}"
        forked(run, None if begun else tools.DIGITS, dies=chance.randrange(1, 180)).is_killed()
    assert not forked(run).is_killed()
    tools.assert_equal(tools.contents(run), in_process)


STOP = {
    "landscape": {"kind": "quadratic", "dim": 7, "curvature": 0.2, "start": [1, 2, 3, 4], "noise": 0.1},
    "steps": 400,
    "stop": {"metric": "train_loss", "of": "mean", "below": 0.1},
    "checkpoint": {"every": 7},
    "curvature": {"every": 50, "of": ["center"], "top": 1, "bottom": 0, "full": "never"},
}


@pytest.fixture(scope="module")
def stopped(tools):
    """A run that a rule stops, and that takes no time."""
    return {**tools.DIGITS, **STOP}


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_ended_at_any_write_from_the_decision_to_stop_to_the_end(by, stopped, forked, tools, tmp_path):
    writes = forked(tmp_path / "whole", stopped).ends()
    undisturbed = tools.contents(tmp_path / "whole")
    (stop,) = [row for row in tools.table(tmp_path / "whole", "events") if row["source"] == "stop"]
    end = int(undisturbed["results"][-1]["step"])
    assert 30 < end == int(stop["step"]) + 1 < 100
    told = next(number for number, data in enumerate(writes, 1) if b",stop," in data)
    for number in [*range(told - 20, told + 4, 2), *range(told + 4, len(writes) + 1, 5)]:
        run = tmp_path / f"run {number}"
        if forked(run, stopped, dies=number, by=by).is_killed():
            assert not forked(run).is_killed()
        tools.assert_equal(tools.contents(run), undisturbed)


def test_killed_at_any_write_of_its_beginning(stopped, forked, tools, tmp_path, reference):
    """What has a run.json can be resumed."""
    undisturbed, resumed = tools.contents(reference(stopped)), 0
    for number in itertools.count(1, 2):
        run = tmp_path / f"run {number}"
        assert forked(run, stopped, dies=number).is_killed()
        has_rows = (run / "distances.csv").exists()
        if (run / "run.json").exists():
            assert not forked(run).is_killed()
            tools.assert_equal(tools.contents(run), undisturbed)
            resumed += 1
        if has_rows:
            break
    assert resumed > 5


def test_killed_at_any_write_of_the_beginning_of_a_resume(stopped, forked, tools, tmp_path, reference):
    undisturbed, killed = tools.contents(reference(stopped)), tmp_path / "killed"
    assert forked(killed, stopped, dies=writes_rows_with(1, "checkpoints")).is_killed()
    for number in range(1, 40, 3):
        run = shutil.copytree(killed, tmp_path / f"run {number}")
        assert forked(run, dies=number).is_killed()
        assert not forked(run).is_killed()
        tools.assert_equal(tools.contents(run), undisturbed)


def test_killed_without_checkpoints_it_begins_again(forked, tools, tmp_path, in_process):
    run = tmp_path / "run"
    assert forked(run, {**tools.DIGITS, "checkpoint": None}, dies=writes_rows_of(100)).is_killed()
    assert not forked(run).is_killed()
    tools.assert_equal(tools.contents(run), in_process)


@pytest.mark.parametrize("harm", ["a bit", "its end", "all"])
def test_an_older_checkpoint_serves_when_the_newest_is_damaged(harm, forked, tools, tmp_path, in_process):
    run = tmp_path / "run"
    assert forked(run, tools.DIGITS, dies=writes_rows_with(2, "checkpoints")).is_killed()
    newest = goes_on(run)
    part = run / f"checkpoints/step-{newest:08d}/walkers-0-3.safetensors"
    data = bytearray(part.read_bytes())
    data[-9] ^= 4
    part.unlink() if harm == "all" else part.write_bytes(data if harm == "a bit" else data[:-9])
    assert goes_on(run) == newest - 40 > 0
    assert not forked(run).is_killed()
    tools.assert_equal(tools.contents(run), in_process)


@pytest.mark.parametrize("seed", range(4))
def test_interrupted_again_and_again(seed, forked, tools, tmp_path, in_process):
    chance, run, config = random.Random(seed), tmp_path / "run", tools.DIGITS
    for _ in range(4):
        assert forked(run, config, dies=chance.randrange(10, 90), by=signal.SIGINT).is_killed()
        assert wd.open_run(run).status == "interrupted"
        config = None
    assert not forked(run).is_killed()
    tools.assert_equal(tools.contents(run), in_process)


def test_what_a_coupling_remembers_is_taken_up(remembering, forked, tools, tmp_path, reference):
    config = {**tools.DIGITS, "coupling": remembering, "schedule": []}
    undisturbed = tools.contents(reference(config))
    run = tmp_path / "run"
    assert forked(run, config, dies=writes_rows_with(1, "checkpoints")).is_killed()
    assert not forked(run).is_killed()
    tools.assert_equal(tools.contents(run), undisturbed)


def test_resumed_when_it_is_done_it_ends_the_same(forked, tools, tmp_path, in_process):
    run = wd.run(tools.DIGITS, run_dir=tmp_path / "run", report=False)
    for _ in range(2):
        assert wd.resume(run, report=False).status == "done"
        tools.assert_equal(tools.contents(run.path), in_process)


def test_more_steps(forked, tools, tmp_path, reference):
    longer = tools.contents(reference({**tools.DIGITS, "steps": 230}))
    run = wd.run(tools.DIGITS, run_dir=tmp_path / "run", report=False).path
    assert forked(run, None, ["steps=230"], dies=writes_rows_of(175)).is_killed()
    assert goes_on(run) == 160
    assert not forked(run).is_killed()  # nobody says so again
    tools.assert_equal(tools.contents(run), longer)


def test_fewer_steps(forked, tools, tmp_path, reference):
    shorter = tools.contents(reference({**tools.DIGITS, "steps": 125}))
    run = tmp_path / "run"
    assert forked(run, tools.DIGITS, dies=writes_rows_of(110)).is_killed()
    with pytest.raises(wd.UserError, match="steps = 10: the run is at step"):
        wd.resume(run, ["steps=10"], report=False)
    assert not forked(run, None, ["steps=125"]).is_killed()
    tools.assert_equal(tools.contents(run), shorter)


@pytest.mark.parametrize("rates", [[0.02], [0.02, 0.03], [0.02, 0.03, 0.02]])
def test_a_rate_given_at_a_resume_acts_again(rates, forked, tools, tmp_path, reference):
    """Killed before the next checkpoint and resumed without a word, the last rate given counts."""
    run = tmp_path / "run"
    assert forked(run, tools.DIGITS, dies=writes_rows_with(2, "checkpoints")).is_killed()
    begin = goes_on(run)
    for rate in rates:
        assert forked(run, None, [f"dynamics.lr={rate}"], dies=writes_rows_of(begin + 15, begin + 20)).is_killed()
        assert goes_on(run) == begin > 0
    assert not forked(run).is_killed()
    entry = {"at": begin, "set": {"dynamics.lr": rates[-1]}}
    scheduled = tools.contents(reference({**tools.DIGITS, "schedule": [*tools.DIGITS["schedule"], entry]}))
    tools.assert_equal(tools.contents(run), scheduled, leave_out=["events"])
    told = [(row["step"], row["key"], row["new"]) for row in tools.table(run, "events") if row["source"] == "resume"]
    assert [row for row in told if row[1]] == [(str(begin), "dynamics.lr", str(rate)) for rate in rates]


def test_a_run_that_a_rule_stopped_goes_on_when_asked_to(stopped, tools, tmp_path, reference):
    run = wd.run(stopped, run_dir=tmp_path / "run", report=False)
    end = int(run.results["step"].max())
    assert 30 < end < 100
    assert wd.resume(run, report=False).results["step"].max() == end
    assert wd.resume(run, ["stop=null", "steps=130"], report=False).results["step"].max() == 130
    unstopped = tools.contents(reference({**stopped, "stop": None, "steps": 130}))
    tools.assert_equal(tools.contents(run.path), unstopped)
