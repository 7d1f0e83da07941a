"""The scripts in `launch/` are what `--print` shows; and what cannot be submitted is said in one line."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRINTED = ["one_node.sh", "several_nodes.sh", "sweep.sh"]


def walkers(*words: object, path: str = "") -> subprocess.CompletedProcess[str]:
    """`walkers WORDS` in the root of the project; without SLURM, whether it is installed or not."""
    environment = {"PATH": path or str(Path(sys.executable).parent), "HOME": os.environ.get("HOME", "/")}
    command = [sys.executable, "-m", "walkers_dist", *(str(word) for word in words)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_is_what_is_printed(name: str) -> None:
    """By the words in its second line."""
    text = (ROOT / "launch" / name).read_text(encoding="utf-8")
    words = shlex.split(text.splitlines()[1].removeprefix("# walkers "))
    printed = walkers(*words, "--print")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert printed.stdout == text


@pytest.mark.parametrize("name", [*PRINTED, "torchrun.sh"])
def test_bash_can_read_it(name: str) -> None:
    subprocess.run(["bash", "-n", ROOT / "launch" / name], check=True, timeout=60)


def test_options_are_passed_through_and_replace_ours() -> None:
    ours = ("--time", "2-0", "--account", "a b", "--partition", "p")
    asked = (*ours, "--sbatch", "signal=B:USR1@300", "--sbatch", "exclusive")
    script = walkers("submit", "configs/quickstart.yaml", *asked, "--print").stdout.splitlines()
    options = [line.removeprefix("#SBATCH --") for line in script if line.startswith("#SBATCH")]
    assert {"time=2-0", "account='a b'", "partition=p", "signal=B:USR1@300", "exclusive", "requeue"} <= set(options)
    assert sum(option.startswith("signal=") for option in options) == 1


@pytest.mark.parametrize(
    ("options", "ranks_per_node"),
    [
        ({"--nodes": 2, "--gpus-per-node": 4}, 5),  # 8 walkers, coordinator and analyst on 8 GPUs
        ({"--nodes": 3, "--gpus-per-node": 8}, 4),
        ({"--nodes": 5}, 2),
    ],
)
def test_how_many_ranks_a_node_has(options: dict[str, int], ranks_per_node: int) -> None:
    words = [str(word) for pair in options.items() for word in pair]
    script = walkers("submit", "configs/quickstart.yaml", "walkers=8", *words, "--print").stdout
    assert f"#SBATCH --ntasks-per-node={ranks_per_node}\n" in script


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["submit", "configs/quickstart.yaml"], "sbatch: there is no SLURM on this machine"),
        (["submit", "configs/quickstart.yaml", "stepps=3", "--print"], "stepps"),
        (["submit", "configs/none.yaml", "--print"], "configs/none.yaml"),
        (["submit", "configs/quickstart.yaml", "--nodes", "0", "--print"], "--nodes 0: must be at least 1"),
        (["submit", "configs/quickstart.yaml", "--gpus-per-node", "0", "--print"], "--gpus-per-node 0"),
        (["submit", "configs/quickstart.yaml", "device=cuda", "--print"], "device = cuda"),
        (["submit", "configs/quickstart.yaml", "--sbatch", "a\nb", "--print"], "--sbatch"),
        (["submit", "configs/quickstart.yaml", "--time", "", "--print"], "--time"),
        (["sweep", "configs/quickstart.yaml", "seed=0,1", "--slurm"], "sbatch: there is no SLURM on this machine"),
        (["sweep", "configs/quickstart.yaml", "seed=0"], "nothing is varied"),
        (["sweep", "configs/quickstart.yaml", "seed=0,,1"], "a value is missing"),
        (["sweep", "configs/quickstart.yaml", "seed=0,0"], "each value once"),
        (["sweep", "configs/quickstart.yaml", "seed=0,x"], "seed = x"),
        (["sweep", "configs/quickstart.yaml", "seed=0,1", "--jobs", "0"], "--jobs 0: must be at least 1"),
        (["sweep", "configs/quickstart.yaml", "seed=0,1", "--point", "2"], "--point 2: must be from 0 to 1"),
    ],
)
def test_refused_in_one_line(words: list[str], said: str) -> None:
    refused = walkers(*words)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("walkers: ") and said in line
    assert refused.stdout == ""


def test_sbatch_refuses(tmp_path: Path) -> None:
    (tmp_path / "sbatch").write_text("#!/bin/bash\necho 'sbatch: error: invalid partition specified: p' >&2; exit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    refused = walkers("submit", "configs/quickstart.yaml", path=f"{tmp_path}:{os.environ['PATH']}")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "walkers: sbatch refuses the job: invalid partition specified: p\n"


def test_the_job_that_does_what_a_run_did_not_wait_for() -> None:
    script = walkers("submit", "configs/quickstart.yaml", "at_end=leave", "--run-dir", "a run", "--print").stdout
    first, second = script.split("\n# The job chained to it, by sbatch --dependency=afterok:JOB:\n")
    assert "walkers_dist run " in first and "--run-dir 'a run' &" in first
    assert "walkers_dist analyze 'a run' --pending &" in second
