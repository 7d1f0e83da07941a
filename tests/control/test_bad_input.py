"""`walkers ctl` and `replay` where there is nobody to speak to: one line, exit code 2, quickly."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import pytest
import zmq

import walkers_dist as wd
from walkers_dist.cli import main

QUICK = {"landscape": {"kind": "quadratic", "dim": 3}, "walkers": 2, "steps": 20, "analysts": 0, "name": "quick"}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return wd.run(QUICK, run_dir=tmp_path_factory.mktemp("done") / "run", report=False).path


@pytest.fixture
def killed(done, tmp_path):
    """As a run looks that was killed: it says that it is running, and nobody holds its lock."""
    run = shutil.copytree(done, tmp_path / "killed")
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "status": "running"}))
    return run


def way(run, port=9, **changes):
    """The files that a killed run leaves."""
    public, secret = (key.decode() for key in zmq.curve_keypair())
    import socket

    address = {"endpoint": f"tcp://127.0.0.1:{port}", "host": socket.gethostname(), "server": public, **changes}
    (run / "control/address.json").write_text(json.dumps(address))
    (run / "control/key.json").write_text(json.dumps({"public": public, "secret": secret}))


def refused(capsys, *words):
    began = time.perf_counter()
    code = main([str(word) for word in words])
    said, why = capsys.readouterr()
    assert (code, said, why.count("\n")) == (2, "", 1), (code, said, why)
    assert time.perf_counter() - began < 3
    return why.removeprefix("walkers: ").removesuffix("\n")


def test_a_run_that_has_ended(done, capsys):
    assert main(["ctl", str(done), "status"]) == 0
    assert capsys.readouterr().out.startswith("done at step 20 of 20, elapsed ")
    for word in ("pause", "continue", "stop", "snapshot"):
        assert refused(capsys, "ctl", done, word) == f"{word}: {done} has ended (done); it takes no more commands"


def test_a_directory_that_is_no_run(tmp_path, capsys):
    assert refused(capsys, "ctl", tmp_path, "status") == f"{tmp_path}: is not a run directory: it holds no run.json"
    assert "no such directory" in refused(capsys, "ctl", tmp_path / "none", "stop")
    assert "no such directory" in refused(capsys, "replay", tmp_path / "none", "--in-process")


def test_a_killed_run(killed, capsys):
    expected = f"{killed}: does not answer: the run is not running"
    assert refused(capsys, "ctl", killed, "status") == expected
    way(killed)
    assert refused(capsys, "ctl", killed, "status") == expected
    way(killed, host="elsewhere")
    there = ", or it listens on elsewhere alone: control.bind = host is heard on other hosts too"
    assert refused(capsys, "ctl", killed, "stop") == expected + there


def test_another_program_at_the_port_of_a_killed_run(killed, capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        way(killed, port=other.getsockname()[1])
        assert refused(capsys, "ctl", killed, "status") == f"{killed}: does not answer: the run is not running"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"public": 3, "secret": 4}', '{"public": "a"}', "\0"])
def test_damaged_files(killed, capsys, text):
    way(killed)
    (killed / "control/key.json").write_text(text)
    assert refused(capsys, "ctl", killed, "status") == f"{killed}/control/key.json: is damaged"
    (killed / "control/address.json").write_text(text)
    assert refused(capsys, "ctl", killed, "status") == f"{killed}/control/address.json: is damaged"


@pytest.mark.parametrize(
    "changes", [{"endpoint": "nowhere"}, {"server": "x"}, {"server": "ä" * 40}, {"endpoint": "tcp://127.0.0.1"}]
)
def test_files_that_hold_no_keys_and_no_address(killed, capsys, changes):
    way(killed, **changes)
    assert refused(capsys, "ctl", killed, "status").startswith(f"{killed}/control: is damaged: ")


def test_a_missing_and_an_unreadable_key(killed, capsys):
    way(killed)
    (killed / "control/key.json").unlink()
    why = refused(capsys, "ctl", killed, "status")
    assert why == f"{killed}/control/key.json: is missing: without it the run takes no command"
    (killed / "control/key.json").mkdir()
    assert refused(capsys, "ctl", killed, "status") == f"{killed}/control/key.json: cannot be read: Is a directory"


def test_words_and_options(done, capsys):
    assert "is no command" in refused(capsys, "ctl", done, "begin")
    for words in (["ctl"], ["ctl", str(done)], ["ctl", str(done), "set", "a=1", "--at", "x"], ["replay"]):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 2 and capsys.readouterr().err.count("\n") == 1
    assert "is no option" in refused(capsys, "ctl", done, "set", "--force")


def test_a_fork_has_no_beginning_to_replay(done, tmp_path, capsys):
    fork = wd.fork(done, None, ["steps=30"], run_dir=tmp_path / "fork", report=False)
    capsys.readouterr()
    why = refused(capsys, "replay", fork.path, "--in-process")
    assert why == f"{fork.path}: begins where {done} stands, and has no beginning to replay"
    assert "steps" in refused(capsys, "replay", done, "steps=many", "--in-process", "--run-dir", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_torch_is_not_loaded(killed):
    way(killed)
    command = [sys.executable, "-X", "importtime", "-m", "walkers_dist", "ctl", str(killed), "status"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    modules = {line.split("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")}
    assert ended.returncode == 2 and "zmq" in modules
    assert not {"torch", "pandas", "scipy", "matplotlib"} & modules
