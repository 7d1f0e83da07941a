"""A run of several processes that is spoken to, also from the command line, and killed in between."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys

import pytest

import walkers_dist as wd


@pytest.fixture(scope="module")
def undisturbed(slow, tools, tmp_path_factory):
    """The run of the same processes with these entries behind its schedule."""

    def make(*entries, **keys):
        config = {**slow, **keys, "schedule": [*slow["schedule"], *entries]}
        run = tmp_path_factory.mktemp("twin") / "run"
        return tools.contents(wd.run(config, run_dir=run, in_process=False, report=False).path)

    return make


def ctl(run, *words):
    command = [sys.executable, "-m", "walkers_dist", "ctl", str(run), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_changed_and_killed_and_resumed_and_replayed(slow, walkers, undisturbed, tools, tmp_path):
    """Killed with one change made since the last checkpoint, and one yet to come."""
    run = tmp_path / "a run"
    first = walkers(run, slow)
    first.speaker.listens()
    first.speaker.at_step(45)
    a = first.speaker.tell("set", "dynamics.lr=0.02", "log.every=7")
    b = first.speaker.tell("set", "coupling.alpha=-0.1", at=a + 150)
    first.speaker.at_step(a + 4)
    first.kill()
    assert first.wait() != 0
    code, said, why = ctl(run, "status")
    assert code == 2 and not said and why == f"walkers: {run}: does not answer: the run is not running\n"
    again = walkers(run)
    assert again.wait() == 0, again.log.read_text()
    entries = [{"at": a, "set": {"dynamics.lr": 0.02, "log.every": 7}}, {"at": b, "set": {"coupling.alpha": -0.1}}]
    twin = undisturbed(*entries)
    tools.assert_equal(tools.contents(run), twin)
    replay = tmp_path / "replay"
    words = ["replay", str(run), "--run-dir", str(replay), "--no-report"]
    done = subprocess.run([sys.executable, "-m", "walkers_dist", *words], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    tools.assert_equal(tools.contents(replay), twin)


def test_killed_in_a_pause_it_goes_on(slow, walkers, undisturbed, tools, tmp_path):
    run = tmp_path / "run"
    first = walkers(run, slow, "--paused")
    first.speaker.listens()
    tools.until(lambda: first.status == "paused", "the pause")
    assert first.speaker.tell("set", "dynamics.lr=0.02") == 1
    first.speaker.tell("continue")
    first.speaker.at_step(20)
    t = first.speaker.tell("pause")
    tools.until(lambda: first.status == "paused", "the pause")
    assert first.speaker.tell("set", "dynamics.lr=0.03") == t + 1
    first.kill()
    first.wait()
    again = walkers(run)
    assert again.wait() == 0, again.log.read_text()
    entries = [{"at": 1, "set": {"dynamics.lr": 0.02}}, {"at": t + 1, "set": {"dynamics.lr": 0.03}}]
    tools.assert_equal(tools.contents(run), undisturbed(*entries))


def test_a_pause_outlasts_silence_and_a_signal_ends_it(slow, walkers, tools, tmp_path):
    run = tmp_path / "run"
    one = walkers(run, {**slow, "exchange": {"timeouts": {"silence": 2}}, "analysts": 0})
    one.speaker.listens()
    one.speaker.at_step(5)
    one.speaker.tell("pause")
    tools.until(lambda: one.status == "paused", "the pause")
    with pytest.raises(subprocess.TimeoutExpired):
        one.process.wait(4)
    assert one.speaker.ask("status")["status"] == "paused"
    one.process.send_signal(signal.SIGTERM)
    assert one.wait() == 130 and one.status == "interrupted"


def test_the_command_line(slow, walkers, tools, tmp_path):
    run = tmp_path / "rün 'a'"
    one = walkers(run, {**slow, "steps": 100_000, "analysts": 0})
    one.speaker.listens()
    one.speaker.at_step(5)
    for name, mode in (("address.json", 0o600), ("key.json", 0o600), ("", 0o700)):
        assert stat.S_IMODE((run / "control" / name).stat().st_mode) == mode
    code, said, why = ctl(run, "status")
    assert (code, why) == (0, "") and said.startswith("running at step ") and said.count("\n") == 1
    status = json.loads(ctl(run, "status", "--json")[1])
    assert status["status"] == "running" and 5 <= status["step"] < status["last"] == 100_000
    code, said, why = ctl(run, "set", "dynamics.lr=0.01", "--at", "90000")
    assert (code, said, why) == (0, "dynamics.lr = 0.01 (was 0.1) at step 90000\n", "")
    assert ctl(run, "status")[1].endswith(", dynamics.lr = 0.01 at step 90000\n")
    for words, expected in (
        (("set", "dynamics.lr=0.01", "--at", "1"), "--at 1: must be at least "),
        (("set", "dynamics.lr=fast"), "dynamics.lr = fast: must be a number"),
        (("set", "dynamics.batch_size=10"), "dynamics.batch_size = 10: cannot change while running"),
        (("set", "dynamics.rate=1"), "unknown key dynamics.rate"),
        (("set", "dynamics.lr"), "dynamics.lr: an override is written key=value"),
        (("set",), "set: must be followed by key=value"),
        (("continue",), "continue: the run is not paused"),
        (("pause", "a=1"), "pause: takes neither"),
        (("snapshot", "--at", "100"), "snapshot: takes neither"),
        (("begin",), "begin: is no command; there are status, pause, continue, stop, snapshot, set"),
    ):
        code, said, why = ctl(run, *words)
        assert (code, said) == (2, "") and why.startswith(f"walkers: {expected}") and why.count("\n") == 1, why
    code, said, why = ctl(run, "stop")
    assert code == 0 and said.startswith("stops at step ")
    assert one.wait() == 0 and one.status == "done"
    last = said.split()[-1]
    code, said, why = ctl(run, "status")
    assert code == 0 and said.startswith(f"done at step {last} of {last}")
    assert json.loads(ctl(run, "status", "--json")[1])["status"] == "done"
    assert ctl(run, "pause") == (2, "", f"walkers: pause: {run} has ended (done); it takes no more commands\n")
    assert sorted(os.listdir(run / "control")) == ["owner.lock"]


def test_bound_to_the_host(slow, walkers, tools, tmp_path):
    one = walkers(tmp_path / "run", {**slow, "control": {"bind": "host", "every": 5}, "analysts": 0, "steps": 60})
    one.speaker.listens()
    endpoint = json.loads((one.run / "control/address.json").read_text())["endpoint"]
    from walkers_dist.distributed.devices import reachable_address

    assert endpoint.startswith(f"tcp://{reachable_address('127.0.0.1')}:")
    assert one.speaker.ask("status")["last"] == 60
    assert one.wait() == 0
