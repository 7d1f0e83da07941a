"""`walkers analyze` by ranks on two nodes, each with a loopback of its own."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys

import pytest

PATIENCE = 150.0  # s
DIGITS = """
landscape: {data: {name: digits, train_size: 100}, model: {name: mlp, hidden: [4]}}
walkers: 2
analysts: 0
steps: 20
"""
ASKED = ("--walkers", "center,w1", "--top", "3", "--bottom", "2", "--no-report")
PORT = "29411"


@pytest.mark.parametrize("known_as", ["", "127.0.1.1"], ids=["its-address", "loopback-alone"])
def test_two_nodes(slurm, tables, known_as: str) -> None:
    """`known_as`: by what name the first node knows itself; Debian's hosts do by a loopback address alone."""
    (slurm.folder / "digits.yaml").write_text(DIGITS)
    slurm.walkers("run", "digits.yaml", "--run-dir", "alone", "--in-process", "--no-report")
    shutil.copytree(slurm.folder / "alone", slurm.folder / "shared")
    slurm.walkers("analyze", "alone", *ASKED)
    ranks = []
    for rank, head in enumerate((known_as or slurm.address(1), slurm.address(1))):
        world = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": head, "MASTER_PORT": PORT}
        command = [*slurm.inside(rank + 1), sys.executable, "-m", "walkers_dist", "analyze", "shared", *ASKED]
        ranks.append(
            subprocess.Popen(
                command, cwd=slurm.folder, env={**slurm.environment, **world}, stderr=subprocess.PIPE, text=True
            )
        )  # fmt: skip
    try:
        errors = [rank.communicate(timeout=PATIENCE)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(errors)
    expected, found = (tables(slurm.folder / run)["eigenvalues.csv"] for run in ("alone", "shared"))
    assert len(expected) == len(found) == 2 * (3 + 2)
    for one, other in zip(expected, found, strict=True):
        assert {**one, "eigenvalue": "", "residual": ""} == {**other, "eigenvalue": "", "residual": ""}
        assert math.isclose(float(one["eigenvalue"]), float(other["eigenvalue"]), rel_tol=1e-6)
