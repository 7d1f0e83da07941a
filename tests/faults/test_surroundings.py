"""A run works wherever it finds itself: beside other runs, on odd hosts, in odd folders, from any kind of Python."""

from __future__ import annotations

import importlib.util
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

LONG = ('ein Lauf\'s "größter" Name ' * 7)[:150]
PYTHON = """
import walkers_dist as wd

run = wd.run("quick.yaml", ["steps=20"], in_process=False, report=False)
print(run.status, len(run.results), "rows")
"""


def assert_done(command, report: bool = False) -> None:
    """It went well, and said so in plain lines, one every tenth of the way."""
    assert command.wait() == 0, command.err
    assert command.err == ""
    *lines, end = command.out.split("\n")
    assert end == "" and all(line.isprintable() for line in lines)
    steps = [int(found[1]) for line in lines if (found := re.match(r"step +(\d+)/100 ", line))]
    assert steps == list(range(0, 101, 10))
    assert command.leaves_nothing()


# ---- hosts and folders ----------------------------------------------------------------------------------------


def test_two_runs_in_the_same_second(walkers, quick: Path) -> None:
    """Two at once, in any second of which a third has been there before them."""
    for second in range(120):
        name = time.strftime("quick-%Y%m%d-%H%M%S", time.localtime(time.time() + second))
        (quick.parent / "runs" / name).mkdir(parents=True)
    commands = [walkers("run", quick, "--no-report") for _ in range(2)]
    for command in commands:
        assert_done(command)
    made = [path for path in quick.parent.glob("runs/*") if (path / "run.json").exists()]
    assert len(made) == 2 and all(re.search(r"\d{6}-[23]$", path.name) for path in made)


def test_a_host_name_that_does_not_resolve(command, quick: Path) -> None:
    name = "no.such.host.invalid"
    alone = ["unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$0" "$@"']
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("unshare --uts and hostname are not permitted here, so the host cannot get another name")
    assert_done(command([*alone, sys.executable, "-m", "walkers_dist", "run", quick, "--no-report"]))
    (run,) = quick.parent.glob("runs/*")
    assert f'"host": "{name}"' in (run / "run.json").read_text()


def test_torchruns_port_is_taken(walkers, quick: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", 29500))
            other.listen()
        except OSError:
            pass  # by somebody else: as good
        assert_done(walkers("run", quick, "--no-report"))


def test_a_reader_that_leaves(walkers, quick: Path) -> None:
    """As in `walkers run … | head -1`."""
    command = walkers("run", quick, "--no-report", stdout=subprocess.PIPE)
    assert command.process.stdout.readline().startswith(b"run directory: ")
    command.process.stdout.close()
    assert command.wait() == 0 and command.err == ""
    assert command.status() == "done" and len(command.rows()) == 21 * 3


def test_a_long_run_directory_and_no_home(walkers, quick: Path) -> None:
    """With everything that uses paths: analyst, report, resume. This home cannot be made, not even by root."""
    assert len(LONG) == 150 and {" ", "'", '"', "ö"} <= set(LONG)
    home = {"HOME": "/dev/null/nonexistent"}
    run = quick.parent / LONG
    assert_done(walkers("run", quick, "curvature={every: 50}", "--run-dir", LONG, environment=home))
    assert "</html>" in (run / "report.html").read_text(encoding="utf-8")
    again = walkers("resume", LONG, "steps=120", "--no-report", environment=home)
    assert again.wait() == 0, again.err
    assert (run / "results.csv").read_text().split("\n")[-2].startswith("120,")


# ---- from Python ----------------------------------------------------------------------------------------------


def test_from_a_script_without_a_main_guard(command, quick: Path) -> None:
    (quick.parent / "script.py").write_text(PYTHON)
    script = command([sys.executable, "script.py"])
    assert script.wait() == 0, script.err
    assert script.out.endswith("done 15 rows\n") and script.leaves_nothing()


def test_from_standard_input(command, quick: Path) -> None:
    script = command([sys.executable, "-"], stdin=subprocess.PIPE)
    script.process.stdin.write(PYTHON.encode())
    script.process.stdin.close()
    assert script.wait() == 0, script.err
    assert script.out.endswith("done 15 rows\n") and script.leaves_nothing()


NOTEBOOK = """
import asyncio, code, contextlib, io

async def kernel():
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code.InteractiveInterpreter({"__name__": "__main__"}).runsource(CELL, "<cell 1>", "exec")
    return said.getvalue()

print("cell:", asyncio.run(kernel()))
"""
IPYTHON = """
from IPython.core.interactiveshell import InteractiveShell

result = InteractiveShell.instance().run_cell(CELL)
result.raise_error()
"""


@pytest.mark.parametrize("kernel", ["interpreter", "IPython"])
def test_from_a_notebook(command, quick: Path, kernel: str) -> None:
    """A cell has no file behind it, and runs inside an event loop, with its output going elsewhere."""
    if kernel == "IPython" and importlib.util.find_spec("IPython") is None:
        pytest.skip("IPython is not installed")
    source = f"CELL = {PYTHON!r}\n" + (IPYTHON if kernel == "IPython" else NOTEBOOK)
    notebook = command([sys.executable, "-c", source])
    assert notebook.wait() == 0, notebook.err
    assert "done 15 rows\n" in notebook.out and notebook.leaves_nothing()
