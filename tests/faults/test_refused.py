"""Wrong input over real processes: exit code 2, one line, nothing made, nobody left. tests/cli has the long list."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

THEIRS = """
def absent(*, seed):
    open("/no/such/digits.npz")

def raises(*, seed, dtype, device):
    raise ArithmeticError("not today")
"""


@pytest.fixture
def refused(walkers, tmp_path: Path):
    """`refused(words)`: the line that they are refused with."""
    commands = []

    def refuse(*words: object) -> str:
        before = set(tmp_path.rglob("*"))
        command = walkers(*words)
        commands.append(command)
        assert command.wait() == 2
        assert command.err.startswith("walkers: ") and command.err.count("\n") == 1, command.err
        assert command.out == ""
        made = {path for path in tmp_path.rglob("*") if path.suffix not in (".out", ".err", ".pyc")}
        assert made - before <= {tmp_path / "__pycache__"}
        return command.err.removeprefix("walkers: ").rstrip()

    yield refuse
    for command in commands:
        assert command.leaves_nothing(30)  # a forkserver first loads what it was told to


def test_by_the_launcher(refused, quick: Path) -> None:
    assert refused("run", "none.yaml") == "none.yaml: No such file or directory"
    assert refused("run", quick, "dynamics.lrr=1") == "unknown key dynamics.lrr; did you mean dynamics.lr?"
    assert refused("resume", "none") == "none: is not a run directory: there is no such directory"


@pytest.mark.parametrize(
    ("word", "line"),
    [
        (
            "landscape={data: {name: 'theirs:absent'}}",
            "landscape.data.name = theirs:absent: FileNotFoundError: [Errno 2] No such file or directory: "
            "'/no/such/digits.npz'",
        ),
        ("landscape={kind: 'theirs:raises'}", "landscape.kind = theirs:raises: ArithmeticError: not today"),
    ],
)
def test_by_the_coordinator(refused, quick: Path, word: str, line: str) -> None:
    """What only rank 0 can know, while the other ranks wait for its plan."""
    (quick.parent / "theirs.py").write_text(THEIRS)
    assert refused("run", quick, word) == line


def test_a_run_that_somebody_is_at(walkers, refused, slow: Path) -> None:
    command = walkers("run", slow, "--run-dir", "taken", "--no-report")
    coordinator, taken = command.playing("coordinator"), slow.parent / "taken"
    command.until((taken / "results.csv").exists, "its first rows")
    again = walkers("run", slow, "--run-dir", "taken")
    resumed = walkers("resume", "taken")
    assert again.wait() == resumed.wait() == 2
    line = f"run directory {taken}: is not empty: name one that is, or that does not exist"
    assert again.err == f"walkers: {line}\n"
    assert resumed.err.startswith("walkers: taken: in use by ") and resumed.err.count("\n") == 1
    assert f" process {coordinator}: " in resumed.err
    assert command.process.poll() is None and not (taken / "error.txt").exists()


def test_every_checkpoint_damaged(walkers, refused, quick: Path) -> None:
    assert walkers("run", quick, "steps=10", "--run-dir", "done", "--in-process", "--no-report").wait() == 0
    for part in (quick.parent / "done").glob("checkpoints/step-*/walkers-0-1.safetensors"):
        part.write_bytes(part.read_bytes()[:-1])
    assert refused("resume", "done", "steps=20").startswith("done: every checkpoint is damaged: done/checkpoints/step-")


def test_from_python(command, quick: Path) -> None:
    (quick.parent / "theirs.py").write_text(THEIRS)
    (quick.parent / "script.py").write_text(
        "import walkers_dist as wd\n"
        "for words in (['stepz=3'], [\"landscape={data: {name: 'theirs:absent'}}\"]):\n"
        "    try:\n"
        "        wd.run('quick.yaml', words, in_process=False)\n"
        "    except wd.UserError as error:\n"
        "        print(error)\n"
    )
    script = command([sys.executable, "script.py"])
    assert script.wait() == 0, script.err
    first, second = script.out.splitlines()
    assert first == "unknown key stepz; did you mean steps?"
    assert second.startswith("landscape.data.name = theirs:absent: FileNotFoundError")
    assert not (quick.parent / "runs").exists()
