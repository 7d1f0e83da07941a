"""What only looks at words or at the configuration does not load torch, which takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
HEAVY = {"torch", "pandas", "scipy", "matplotlib", "sklearn"}


def loaded(*words: str) -> tuple[set[str], str, int]:
    """Top-level modules that `walkers WORDS` loads, what it prints, its exit code."""
    command = [sys.executable, "-X", "importtime", "-m", "walkers_dist", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    modules = {line.split("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    return {module.split(".")[0] for module in modules}, done.stdout, done.returncode


def test_the_modules_are_seen() -> None:
    """The measure itself: a run in this process loads torch before it finds that there is no such file."""
    modules, _, code = loaded("run", "none.yaml", "--in-process")
    assert code == 2 and "torch" in modules


@pytest.mark.parametrize(
    "words",
    [("--help",), ("run", "--help"), ("resume", "--help"), ("report", "--help"), ("data", "fetch", "--help"), ()],
)
def test_help(words: tuple[str, ...]) -> None:
    modules, said, code = loaded(*words)
    assert not HEAVY & modules
    assert (code, said.startswith("usage: walkers")) == ((0, True) if words else (2, False))


def test_list_of_data_sets() -> None:
    modules, said, code = loaded("data", "list")
    assert code == 0 and not HEAVY & modules and "digits" in said


def test_schema() -> None:
    modules, said, code = loaded("schema")
    assert code == 0 and not HEAVY & modules
    assert "landscape" in json.loads(said)["properties"]


def test_cite() -> None:
    modules, said, code = loaded("cite", str(QUICKSTART))
    assert code == 0 and not HEAVY & modules and "zhang2015deep" in said
