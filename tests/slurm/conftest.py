"""A SLURM cluster of two nodes on this machine, and the jobs that are submitted to it."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NEEDED = ("sbatch", "scontrol", "slurmctld", "slurmd", "munged", "ip", "nsenter")
PATIENCE = 150.0  # s: two cores play two nodes
NO_NETWORK = 3
SCRIPT = Path(__file__).parent / "cluster.sh"
BOWLS = '''
"""A bowl whose gradients take their time."""

import time

from walkers_dist import Landscape


class Bowl(Landscape):
    def __init__(self, *, seed, dtype, device, pause=0.0):
        self.size, self.pause = 5, pause

    def minibatches(self, walkers, batch_size):
        exact = super().minibatches(walkers, batch_size)

        def gradient(X, t):
            time.sleep(self.pause)
            return exact(X, t)

        return gradient

    def loss(self, theta, *, split="train", walkers=None):
        return theta.square().sum(1) / 2
'''
EXPERIMENT = """
landscape: {kind: "bowls:Bowl"}
walkers: 2
steps: 100
log: {every: 5}
control: {every: 5}
snapshots: {every: 20}
checkpoint: {every: 20}
probes: {distances: {every: 10}}
curvature: {every: 20, of: [center, w1], top: 2, full: never}
"""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """The configuration file of a cluster that is up."""
    if missing := [name for name in NEEDED if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]:
        pytest.skip(f"SLURM is not here ({missing[0]}): apt-get install slurm-wlm munge iproute2")
    if os.geteuid() != 0:
        pytest.skip("a cluster on this machine needs root")
    base = Path(tempfile.mkdtemp(prefix="walkers-slurm-"))
    base.chmod(0o755)
    try:
        up = subprocess.run([SCRIPT, "up", base, "2"], capture_output=True, text=True, timeout=120)
        if up.returncode == NO_NETWORK:
            pytest.skip(f"no networks of its own can be made here: {up.stderr.strip()}")
        assert up.returncode == 0, up.stderr
        yield base / "slurm.conf"
    finally:
        if (base / "run" / "network").exists():
            subprocess.run([SCRIPT, "down", base], check=True, timeout=120, capture_output=True)
        shutil.rmtree(base)


class Slurm:
    """What is submitted from one folder, and what becomes of it."""

    def __init__(self, conf: Path, folder: Path) -> None:
        self.conf, self.folder = conf, folder
        python = Path(sys.executable).parent
        path = f"{python}:{os.environ['PATH']}:/usr/sbin:/sbin"
        known = {name: os.environ[name] for name in ("HOME", "PYTHONPATH") if name in os.environ}
        self.environment = {**known, "PATH": path, "SLURM_CONF": str(conf), "OMP_NUM_THREADS": "1"}

    def run(self, *words: object) -> str:
        """Run a command to its end; what it said."""
        ended = subprocess.run(
            [str(word) for word in words], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=PATIENCE,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def walkers(self, *words: object, node: int = 0) -> str:
        """`walkers WORDS` on this machine, or on the node of that number."""
        return self.run(*self.inside(node), sys.executable, "-m", "walkers_dist", *words)

    def inside(self, node: int) -> list[str]:
        """What comes before a command that runs in the network of a node; 0 is this machine's own."""
        return ["nsenter", f"--net=/run/netns/{self._network}-n{node}"] if node else []

    def address(self, node: int) -> str:
        return f"198.18.{self._network.removeprefix('wd')}.{node}"

    @property
    def _network(self) -> str:
        return (self.conf.parent / "run" / "network").read_text().strip()

    def submit(self, *words: object) -> str:
        """`walkers submit WORDS`; the number of the job."""
        said = self.walkers("submit", *words)
        return re.match(r"job (\d+): ", said)[1]  # type: ignore[index]

    def job(self, number: str) -> dict[str, str]:
        """What SLURM says of it."""
        return self.tasks(number)[0]

    def tasks(self, number: str) -> list[dict[str, str]]:
        """Of an array, what it says of each of its tasks."""
        lines = self.run("scontrol", "show", "job", "--oneliner", number).splitlines()
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]

    def _queued(self, number: str) -> bool:
        return bool(self.run("squeue", "--noheader", "--jobs", number))

    def log(self, number: str) -> str:
        """What it has said, or what all tasks of an array have."""
        return "\n".join(p.read_text(encoding="utf-8") for p in sorted(self.folder.glob(f"slurm-{number}[._]*")))

    def until(self, condition: Callable[[], Any], number: str, patience: float = PATIENCE) -> Any:
        """Wait until the condition holds; its value."""
        deadline = time.monotonic() + patience
        while not (value := condition()):
            assert time.monotonic() < deadline, f"{self.job(number)}\n{self.log(number)}"
            time.sleep(0.2)
        return value

    def end(self, number: str, patience: float = PATIENCE) -> str:
        """Wait until a job is no more, and say how it ended."""
        over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}

        def state() -> str:
            states = {task["JobState"] for task in self.tasks(number)}
            return ", ".join(sorted(states)) if states <= over and not self._queued(number) else ""

        return self.until(state, number, patience)

    def at_step(self, number: str, run: Path, step: int) -> None:
        """Wait until the tables of the run hold that step or a later one."""

        def reached() -> bool:
            assert self.job(number)["JobState"] in ("PENDING", "CONFIGURING", "RUNNING"), self.log(number)
            return any(int(row["step"]) >= step for row in rows(run / "results.csv"))

        self.until(reached, number)


def rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def tables() -> Callable[[Path], dict[str, list[dict[str, str]]]]:
    """Every table of a run as texts, but for how long it took, and what tells of stops and resumes."""

    def read(run: Path) -> dict[str, list[dict[str, str]]]:
        found = {}
        for path in sorted(run.glob("*.csv")):
            kept = [row for row in rows(path) if row.get("source") not in ("stop", "resume", "fault")]
            found[path.name] = [{k: v for k, v in row.items() if k not in ("elapsed", "time")} for row in kept]
        return found

    return read


@pytest.fixture
def slurm(cluster: Path, tmp_path: Path) -> Iterator[Slurm]:
    """A folder whose name is a trap, with `bowl.yaml` in it."""
    folder = tmp_path / "a folder's name: ü"
    folder.mkdir()
    (folder / "bowls.py").write_text(BOWLS)
    (folder / "bowl.yaml").write_text(EXPERIMENT)
    slurm = Slurm(cluster, folder)
    yield slurm
    slurm.run("scancel", "--user", "root", "--quiet")
