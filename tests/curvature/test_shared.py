"""Several ranks over gloo give what one process gives; a rank that dies ends the others."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import several_ranks
import torch
from torch import Tensor

from walkers_dist import curvature
from walkers_dist.config.errors import RunFailed, UserError
from walkers_dist.curvature import Operator
from walkers_dist.distributed.analysis import together

MAKE = "several_ranks:make"
HERE = Path(__file__).parent
PATIENCE = 90.0  # s
NAMES = [f"{surface} {part}" for surface in ("mlp", "weighted") for part in ("hessian", "ggn", "residual")]
FEW = ["few hessian", "tiny hessian", "batches hessian"]


@pytest.fixture(autouse=True, scope="module")
def importable():
    """The children find `several_ranks`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
        patch.syspath_prepend(HERE)
        yield


def measured(matrix: Callable[[str], Operator]) -> dict[str, Tensor]:
    """Everything that is compared."""
    found = {}
    for name in [*NAMES, *FEW, "bowl hessian"]:
        H = matrix(name)
        found[f"{name}, all"] = curvature.spectrum(H).eigenvalues
    for name in [*NAMES, "bowl hessian"]:
        H = matrix(name)
        found[f"{name}, ends"] = curvature.extremes(H, 10, 5, tol=1e-7).eigenvalues
        found[f"{name}, density"] = curvature.density(H, probes=3, steps=12).nodes
    for name in ("mlp covariance", "weighted covariance", "batches ggn"):
        A = matrix(name)
        V = torch.randn(5, A.size, generator=torch.Generator().manual_seed(1), dtype=A.dtype)
        found[f"{name}, products"] = A(V)
    found["single"] = curvature.extremes(matrix("mlp hessian single"), 3, 3).eigenvalues
    with pytest.raises(UserError, match=r"^parameter .*weight holds nan"):
        curvature.extremes(matrix("lost hessian"), 2, 2)
    H, G = matrix("weighted hessian"), matrix("weighted ggn")  # by turns, and after one that has no curvature
    V = torch.ones(1, H.size, dtype=H.dtype)
    found["by turns"] = torch.cat([H(V), G(V), H(V)])
    return found


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    found = together(1, MAKE, {}, measured)
    assert found is not None
    return found


@pytest.fixture(scope="module", params=[2, 3])
def several(request, importable) -> dict[str, Tensor]:
    found = together(request.param, MAKE, {}, measured)
    assert found is not None
    return found


def test_same_answers(several, alone) -> None:
    assert several.keys() == alone.keys()
    for name, values in alone.items():
        if name == "single":
            continue
        largest = alone.get(f"{name.split(',')[0]}, all", values).abs().max()
        assert (several[name] - values).abs().max() <= 1e-10 * largest, name


def test_rows_have_the_bits_of_one_process(several, alone) -> None:
    for name in ("weighted hessian", "weighted ggn", "tiny hessian", "mlp hessian"):
        assert torch.equal(several[f"{name}, all"], alone[f"{name}, all"]), name


def test_one_process_is_the_usual_way(alone) -> None:
    model, loss, data = several_ranks.weighted()
    usual = curvature.spectrum(curvature.hessian(model, loss, data)).eigenvalues
    assert torch.equal(alone["weighted hessian, all"], usual)
    parts = {part: alone[f"weighted {part}, all"].sum() for part in ("hessian", "ggn", "residual")}
    assert parts["hessian"] == pytest.approx(float(parts["ggn"] + parts["residual"]), rel=1e-12)


def test_single_precision(several, alone) -> None:
    truth = alone["mlp hessian, all"]
    assert several["single"].dtype == torch.float32
    assert (several["single"] - truth[[0, 1, 2, -3, -2, -1]]).abs().max() <= 1e-4 * truth[-1]


def test_each_rank_has_its_own_share() -> None:
    """The sum alone tells nothing if one rank does everything."""
    for name in ("mlp hessian", "weighted ggn", "batches hessian"):
        A = several_ranks.matrix
        V = torch.randn(2, A(name, (0, 1)).size, dtype=torch.float64)
        shares = [A(name, (i, 3))(V).norm() for i in range(3)]
        assert min(shares) > 0.05 * A(name, (0, 1))(V).norm()


def multiplying(parent: int) -> list[int]:
    """The children of a process that multiply for it."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            if folder.name.isdigit() and b"_multiply" in (folder / "cmdline").read_bytes().split(b"\0"):
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(stat[1]) == parent and stat[0] != "Z":
                    found.append(int(folder.name))
    return sorted(found)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_killed_rank_ends_the_others() -> None:
    def work(matrix: Callable[[str], Operator]) -> None:
        H = matrix("mlp hessian")
        V = torch.randn(2, H.size, dtype=H.dtype)
        H(V)
        os.kill(multiplying(os.getpid())[-1], signal.SIGKILL)
        while True:
            H(V)

    with pytest.raises(RunFailed, match=r"^rank [12] of the analysis was ended by SIGKILL$"):
        together(3, MAKE, {}, work)
    assert multiplying(os.getpid()) == []


def test_a_rank_that_fails_says_why() -> None:
    with pytest.raises(RunFailed, match=r"^rank 1 of the analysis: ArithmeticError: has lost its way$"):
        together(2, MAKE, {"fails": 1}, lambda matrix: matrix("mlp hessian"))
    assert multiplying(os.getpid()) == []


SCRIPT = f"""
from walkers_dist import curvature
from walkers_dist.distributed.analysis import together

def work(matrix):
    H = matrix("weighted hessian")
    print("spectrum", *curvature.spectrum(H).eigenvalues.tolist(), flush=True)
    print("ends", *curvature.extremes(H, 2, 1).eigenvalues.tolist(), flush=True)
    while WAITS:
        H(H.whole()(__import__("torch").randn(1, H.size).double()))

for _ in range(CALLS):
    together(3, {MAKE!r}, {{}}, work)
"""


def script(folder: Path, **words: int) -> Path:
    path = folder / "script.py"
    path.write_text(SCRIPT.replace("WAITS", str(words["waits"])).replace("CALLS", str(words["calls"])))
    return path


def test_no_orphan_of_a_killed_leader(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, script(tmp_path, waits=1, calls=1)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("spectrum")
        children = multiplying(process.pid)
        assert len(children) == 2
        process.kill()
    until(lambda: not any(_lives(pid) for pid in children), "a child outlives its leader")


def _lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_under_torchrun(tmp_path: Path) -> None:
    """All ranks of the job take part, twice; what they were asked to be elsewhere does not matter."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ended = subprocess.run(
        [*launch, script(tmp_path, waits=0, calls=2)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["spectrum", "ends"] * 2
    assert lines[:2] == lines[2:]
    truth = curvature.spectrum(several_ranks.matrix("weighted hessian", (0, 1))).eigenvalues
    assert [float(word) for word in lines[0].split()[1:]] == truth.tolist()
