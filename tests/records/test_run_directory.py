"""A run directory is made once, owned by one living process, and undone without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from walkers_dist.config.errors import UserError
from walkers_dist.records import run_directory
from walkers_dist.records.run_directory import RunDirectory

NOW = datetime(2026, 2, 3, 4, 5, 6)
AWKWARD = 'größe "x" it\'s ' + "z" * 135


def child(code, *arguments):
    """A real process that runs `code`; its output is a pipe."""
    root = Path(run_directory.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    )


HOLD = """
import sys
from pathlib import Path
from walkers_dist.records.run_directory import RunDirectory
run = RunDirectory(Path(sys.argv[1]))
run.claim()
print("claimed", run.owns(), flush=True)
sys.stdin.readline()
print(run.owns(), flush=True)
"""


def test_two_in_the_same_second_get_two_directories(tmp_path):
    made = [run_directory.create(tmp_path, "quickstart", NOW) for _ in range(3)]
    stem = "quickstart-20260203-040506"
    assert [run.path.name for run in made] == [stem, f"{stem}-2", f"{stem}-3"]


def test_many_at_once_never_share_one(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: run_directory.create(tmp_path / "runs", "a", NOW).path, range(40)))
    assert len(set(made)) == 40 and all(path.is_dir() for path in made)


def test_a_named_directory_is_absent_or_empty(tmp_path):
    assert run_directory.create(tmp_path, "a", NOW, tmp_path / "deep" / "run").path == tmp_path / "deep" / "run"
    (tmp_path / "empty").mkdir()
    assert run_directory.create(tmp_path, "a", NOW, tmp_path / "empty").path.is_dir()
    (tmp_path / "empty" / "file").touch()
    with pytest.raises(UserError, match="empty: is not empty"):
        run_directory.create(tmp_path, "a", NOW, tmp_path / "empty")
    for impossible in (tmp_path / "empty" / "file", tmp_path / "empty" / "file" / "run", tmp_path / ("n" * 300)):
        with pytest.raises(UserError, match="cannot be made: "):
            run_directory.create(tmp_path, "a", NOW, impossible)


def test_nothing_is_left_of_one_that_is_removed(tmp_path):
    run = run_directory.create(tmp_path / "new" / "runs", "a", NOW)
    run.claim()
    run.logs.mkdir()
    run.config.touch()
    run.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_before_stays(tmp_path):
    (tmp_path / "given").mkdir()
    run = run_directory.create(tmp_path, "a", NOW, tmp_path / "given")
    run.claim()
    run.remove()
    assert list((tmp_path / "given").iterdir()) == []
    one, two = (run_directory.create(tmp_path / "runs", "a", NOW) for _ in range(2))
    one.remove()
    assert list((tmp_path / "runs").iterdir()) == [two.path]


def test_opening_what_is_none(tmp_path):
    with pytest.raises(UserError, match="there is no such directory"):
        run_directory.open(tmp_path / "absent")
    with pytest.raises(UserError, match=r"holds no run.json"):
        run_directory.open(tmp_path)
    RunDirectory(tmp_path).write_info({"status": "done"})
    assert run_directory.open(str(tmp_path)).read_info() == {"status": "done"}


def test_info_is_changed_entry_by_entry(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_info({"status": "running", "plan": {"rows": [2, 2]}, "host": "größe"})
    run.update_info(status="done", seconds=1.5)
    assert json.loads(run.info.read_text("utf-8")) == {
        "status": "done",
        "plan": {"rows": [2, 2]},
        "host": "größe",
        "seconds": 1.5,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    with pytest.raises(ValueError, match="status 'finished' is none of running"):
        run.update_info(status="finished")
    for broken in ("{", "[]", "\xff"):
        run.info.write_text(broken, "latin-1")
        with pytest.raises(UserError, match=r"run.json: is damaged"):
            run.read_info()


def test_the_owner_is_one_process_until_it_is_killed(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_info({"status": "running"})
    with child(HOLD, tmp_path) as holder:
        assert holder.stdout.readline() == "claimed True\n"
        with pytest.raises(UserError, match=f"in use by .* process {holder.pid}: "):
            run.claim()
        assert not run.owns()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    run.claim()
    assert run.owns() and run.read_info()["owner"]["pid"] == os.getpid()
    assert run.read_info()["status"] == "running"
    run.release()


def test_a_writer_that_run_json_no_longer_names_is_not_the_owner(tmp_path):
    with child(HOLD, tmp_path) as holder:
        assert holder.stdout.readline() == "claimed True\n"
        (tmp_path / "control" / "owner.lock").unlink()  # as where a file system forgets locks of a cut-off node
        run = RunDirectory(tmp_path)
        run.claim()
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "False\n"
    assert run.owns()
    run.release()
    assert not run.owns()


def test_it_can_be_claimed_again_after_release(tmp_path):
    one, two = RunDirectory(tmp_path), RunDirectory(tmp_path)
    one.claim()
    with pytest.raises(UserError, match=f"process {os.getpid()}"):
        two.claim()
    one.release()
    two.claim()
    two.release()


FAIL = """
import sys, time
from pathlib import Path
from walkers_dist.records.run_directory import RunDirectory
time.sleep(max(0, float(sys.argv[3]) - time.time()))
print(RunDirectory(Path(sys.argv[1])).fail("error of " + sys.argv[2]))
"""


def test_the_first_error_is_the_one_to_read(tmp_path):
    start = time.time() + 0.7
    children = [child(FAIL, tmp_path, number, start) for number in range(3)]
    said = [process.communicate()[0].strip() for process in children]
    assert sorted(said) == ["False", "False", "True"]
    assert (tmp_path / "error.txt").read_text() == f"error of {said.index('True')}\n"


def test_awkward_names_work(tmp_path):
    assert len(AWKWARD) == 150
    run = run_directory.create(tmp_path / "a b", AWKWARD, NOW)
    run.claim()
    run.fail("x")
    assert run_directory.open(run.path).owns() is False and run.owns()
    run.remove()
    assert list(tmp_path.iterdir()) == []


def test_torch_and_pandas_are_not_loaded(tmp_path):
    code = """
import sys
from walkers_dist.records import background, checkpoints, files, index, parts, run_directory, snapshots, tables
print(sorted({"torch", "pandas", "numpy"} & set(sys.modules)))
"""
    assert child(code).communicate()[0] == "[]\n"
