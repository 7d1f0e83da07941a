"""`walkers run --ask-every N`: a scripted session is one run with the same schedule; the terminal, and who answers."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

import walkers_dist as wd
from walkers_dist.cli import main

SCRIPT = """soon
0
65
fast
dynamics.batch_size=3
0.02
coupling.alpha = 0.05

\x1b
log.every=7

200

"""
ASKED = [35, 100, 133, 335]
"""With reports at multiples of 5, from step 101 on at those of 7 too; the last time, the script is over."""
ENTRIES = ({"at": 36, "set": {"dynamics.lr": 0.02, "coupling.alpha": 0.05}}, {"at": 101, "set": {"log.every": 7}})


@pytest.fixture(scope="module")
def quick(slow):
    """With all walkers in one process: then it is the same to a bit whether that process is this one."""
    return {**slow, "landscape": {"kind": "bowls:Bowl"}, "walkers_per_process": 4}


@pytest.fixture(scope="module")
def undisturbed(quick, tools, tmp_path_factory):
    def make(*entries):
        config = {**quick, "schedule": [*quick["schedule"], *entries]}
        return tools.contents(wd.run(config, run_dir=tmp_path_factory.mktemp("twin") / "run", report=False).path)

    return make


@pytest.fixture
def words(quick, tmp_path):
    """The words of a run in `tmp_path/run`, and that directory."""
    (file := tmp_path / "quick.yaml").write_text(json.dumps(quick))
    return ["run", str(file), "--run-dir", str(tmp_path / "run"), "--no-report"], tmp_path / "run"


def asked(said):
    return [int(step) for step in re.findall(r"^step (\d+) of \d+, .*dynamics\.lr = ", said, re.MULTILINE)]


def test_a_script_is_a_schedule_in_one_process(words, undisturbed, tools, tmp_path, capsys):
    words, run = words
    (answers := tmp_path / "answers").write_text(SCRIPT)
    assert main([*words, "--in-process", "--ask-every", "33", "--answers", str(answers)]) == 0
    said = capsys.readouterr().out
    assert asked(said) == ASKED
    lines = said.splitlines()
    for line in (
        "steps until it asks again [33]: soon",
        "soon: must be a number of steps, at least 1; nothing for 33; or stop",
        "0: must be a number of steps, at least 1; nothing for 33; or stop",
        "steps until it asks again [33]: 65",
        "change (key=value, a learning rate, or stop; nothing to go on): fast",
        "fast: must be key=value, a number for dynamics.lr, stop, or nothing to go on",
        "dynamics.lr = 0.02 (was 0.1) at step 36",
        "coupling.alpha = 0.05 (was 0.1) at step 36",
        "log.every = 7 (was 10) at step 101",
        "steps until it asks again [33]: no more answers",
    ):
        assert lines.count(line) == 1, line
    assert sum(line.startswith("dynamics.batch_size = 3: cannot change while running") for line in lines) == 1
    assert "loss at step 30: center " in said and "\x1b" not in said and "\r" not in said
    tools.assert_equal(tools.contents(run), undisturbed(*ENTRIES))
    told = {(row["step"], row["source"]) for row in tools.rows(run, "events") if row["source"] != "schedule"}
    assert told == {("36", "live"), ("101", "live")}


def test_and_over_processes_through_a_pipe(words, undisturbed, tools):
    words, run = words
    command = [sys.executable, "-m", "walkers_dist", *words, "--ask-every", "33"]
    done = subprocess.run(command, input=SCRIPT, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0 and asked(done.stdout) == ASKED, done.stderr
    tools.assert_equal(tools.contents(run), undisturbed(*ENTRIES))


def test_killed_in_between_and_asked_again_after_a_resume(slow, walkers, undisturbed, tools, tmp_path):
    run, answers = tmp_path / "run", tmp_path / "answers"
    answers.write_text("1000\ndynamics.lr=0.02\n\n")
    first = walkers(run, slow, "--in-process", "--ask-every", "20", "--answers", str(answers))
    first.speaker.listens()
    first.speaker.at_step(60)
    first.kill()
    first.wait()
    answers.write_text("\nprobes.distances.every=5")  # without an end
    again = walkers(run, None, "--in-process", "--ask-every", "150", "--answers", str(answers))
    assert again.wait() == 0, again.log.read_text()
    (t,) = asked(again.log.read_text())
    assert t in (190, 230)  # the checkpoint of step 80 may have been written already
    entries = [{"at": 21, "set": {"dynamics.lr": 0.02}}, {"at": t + 1, "set": {"probes.distances.every": 5}}]
    tools.assert_equal(tools.contents(run), undisturbed(*entries))


@pytest.mark.parametrize("in_process", (True, False))
def test_a_terminal_and_an_interrupt_while_it_asks(words, in_process, undisturbed, tools):
    words, run = words
    command = [sys.executable, "-m", "walkers_dist", *words, *["--in-process"] * in_process, "--ask-every", "30"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, command)
    said, until = b"", time.monotonic() + 60

    def read(count=0):
        """Until it has asked so often, or to the end."""
        nonlocal said
        while not count or said.count(b"again [30]: ") < count:
            assert select.select([terminal], [], [], until - time.monotonic())[0], said
            try:
                said += os.read(terminal, 4096)
            except OSError:
                return

    try:
        read(1)
        os.write(terminal, b"25\n0.02\n\n")
        read(2)
        assert json.loads((run / "run.json").read_text())["status"] == "paused"
        os.write(terminal, b"\x03")
        read()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    finally:
        os.close(terminal)
        if "run.json" not in os.listdir(run) or not (run / "run.json").read_text().count("interrupted"):
            os.kill(pid, signal.SIGKILL)
    assert wd.open_run(run).steps[-1] == 56 and b"interrupted: walkers resume" in said
    assert main(["resume", str(run), "--in-process", "--no-report"]) == 0
    twin = undisturbed({"at": 31, "set": {"dynamics.lr": 0.02}})
    tools.assert_equal(without_end(tools.contents(run, [56]), 56), without_end(twin, 56))


def without_end(contents, step):
    """Without the rows of the step at which a run was interrupted: it measured there as at any last step."""
    return {
        name: found if name == "snapshots" else [row for row in found if int(row["step"]) != step]
        for name, found in contents.items()
    }


def test_others_may_speak_while_it_asks(words, tools, slow):
    words, run = words
    command = [
        sys.executable,
        "-m",
        "walkers_dist",
        *words,
        "analysts=0",
        "steps=100000",
        "--in-process",
        "--ask-every",
        "30",
    ]
    speaker = tools.Speaker(run)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        speaker.listens()
        tools.until(lambda: speaker.ask("status")["status"] == "paused", "a question")
        assert speaker.ask("status")["step"] == 30
        assert speaker.tell("set", "dynamics.lr=0.02") == 31
        assert speaker.tell("continue") == 30
        tools.until(lambda: speaker.ask("status")["step"] == 60, "the next question")
        said, _ = process.communicate("\n0.03\nstop\n", timeout=60)
    assert process.returncode == 0 and asked(said) == [30, 60]
    assert "dynamics.lr = 0.03 (was 0.02) at step 61\n" in said and "stops at step 61\n" in said
    assert wd.open_run(run).results["step"].max() == 61


def test_no_answers_ask_once(words, undisturbed, tools, capsys):
    words, run = words
    assert main([*words, "--in-process", "--ask-every", "50", "--answers", os.devnull]) == 0
    assert asked(capsys.readouterr().out) == [50]
    tools.assert_equal(tools.contents(run), undisturbed())


def test_bad_input(words, tmp_path, capsys, monkeypatch):
    words, run = words

    def refused(*more):
        try:
            code = main([*words, *more])
        except SystemExit as left:
            code = left.code
        said, why = capsys.readouterr()
        assert (code, said, why.count("\n")) == (2, "", 1), why
        assert not run.exists()
        return why.removeprefix("walkers: ").removesuffix("\n")

    assert refused("--ask-every", "0") == "--ask-every 0: must be at least 1"
    assert refused("--ask-every", "-5", "--in-process") == "--ask-every -5: must be at least 1"
    assert refused("--ask-every", "often").startswith("argument --ask-every: invalid int value: 'often'")
    missing = tmp_path / "missing"
    asked_here = ("--ask-every", "10", "--answers")
    assert refused(*asked_here, str(missing)) == f"--answers {missing}: cannot be read: No such file or directory"
    assert refused(*asked_here, str(tmp_path)) == f"--answers {tmp_path}: cannot be read: Is a directory"
    assert refused("--answers", str(missing)) == f"--answers {missing}: needs --ask-every N"
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    why = "--ask-every 10: nobody answers a launcher's ranks: walkers ctl speaks to such a run"
    assert refused("--ask-every", "10") == why
