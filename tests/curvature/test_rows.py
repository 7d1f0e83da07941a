"""Rows of a matrix that are kept while it is made: after a kill, by several processes, and what is in the way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from matrices import rotated
from torch import Tensor

from walkers_dist import curvature
from walkers_dist.config.errors import UserError
from walkers_dist.curvature import Operator

P = 700
BLOCK = 64  # 5 % of 700 rows are 35: the next multiple of 32
PATIENCE = 60.0  # s
A = rotated(torch.linspace(-1, 5, P, dtype=torch.float64))


def slow(log: Path, pause: float = 0.002, matrix: Tensor = A) -> Operator:
    """Its rows take their time, and each leaves a byte in the log."""

    def product(V: Tensor) -> Tensor:
        time.sleep(pause * len(V))
        with log.open("ab", buffering=0) as file:
            file.write(b"." * len(V))
        return V @ matrix

    return Operator(product, P, torch.float64, torch.device("cpu"))


@pytest.fixture
def processes() -> Iterator[Callable[[Callable[[], object]], BaseProcess]]:
    started: list[BaseProcess] = []

    def start(work: Callable[[], object]) -> BaseProcess:
        process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def values() -> Tensor:
    return curvature.spectrum(Operator(lambda V: V @ A, P, torch.float64, torch.device("cpu"))).eigenvalues


def rows_in(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


def test_killed_it_goes_on(tmp_path: Path, processes, values: Tensor) -> None:
    """Killed three times: the same bits, and each kill costs a block (and the product that says which matrix it is)."""
    log, state = tmp_path / "log", tmp_path / "state"
    for rows in (100, 320, 555):
        process = processes(lambda: curvature.spectrum(slow(log), state=state))
        until(lambda rows=rows: rows_in(log) >= rows, f"{rows} rows")
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    told: list[tuple[int, int]] = []
    found = curvature.spectrum(slow(log, 0), state=state, progress=lambda *at: told.append(at))
    assert torch.equal(found.eigenvalues, values)
    assert rows_in(log) <= P + 3 * BLOCK + 4
    assert told[0][0] > P // 2 and told[-1] == (P, P)
    assert not state.exists()


def test_several_processes_make_one_matrix(tmp_path: Path, processes, values: Tensor) -> None:
    """No row is made twice but those of a helper that is killed, and nothing is left."""
    log, state, helped = tmp_path / "log", tmp_path / "state", tmp_path / "helped"

    def helper() -> None:
        until(lambda: (state / "matrix").exists(), "somebody gathers")
        helped.write_text(str(curvature.help_with(slow(log), state)))

    victim, other = processes(helper), processes(helper)
    leader = processes(lambda: curvature.spectrum(slow(log, 0.004), state=state))
    until(lambda: rows_in(log) >= 200, "some rows")
    os.kill(victim.pid, signal.SIGKILL)
    leader.join(PATIENCE)
    other.join(PATIENCE)
    assert leader.exitcode == other.exitcode == 0
    assert int(helped.read_text()) >= 2
    assert P <= rows_in(log) <= P + BLOCK + 3
    assert not state.exists()


def test_what_is_gathered_is_the_same(tmp_path: Path, processes, values: Tensor) -> None:
    log, state = tmp_path / "log", tmp_path / "state"
    process = processes(lambda: (until(lambda: (state / "matrix").exists(), "begun"),
                                 curvature.help_with(slow(log), state)))  # fmt: skip
    found = curvature.spectrum(slow(log), state=state)
    process.join(PATIENCE)
    assert process.exitcode == 0 and torch.equal(found.eigenvalues, values)


def test_rows_of_another_matrix_are_as_if_there_were_none(tmp_path: Path, processes, values: Tensor) -> None:
    log, state = tmp_path / "log", tmp_path / "state"
    process = processes(lambda: curvature.spectrum(slow(log, matrix=2 * A), state=state))
    until(lambda: rows_in(log) >= 200, "some rows")
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert len(list(state.glob("rows-*"))) >= 1
    assert curvature.help_with(slow(log), state) == 0
    assert torch.equal(curvature.spectrum(slow(tmp_path / "new"), state=state).eigenvalues, values)
    assert rows_in(tmp_path / "new") == P + 1


def test_a_damaged_block_is_made_again(tmp_path: Path, processes, values: Tensor) -> None:
    log, state = tmp_path / "log", tmp_path / "state"
    process = processes(lambda: curvature.spectrum(slow(log), state=state))
    until(lambda: len(list(state.glob("rows-*.safetensors"))) >= 2, "two blocks")
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    first = min(state.glob("rows-*.safetensors"))
    bytes_ = bytearray(first.read_bytes())
    bytes_[-5] ^= 1
    first.write_bytes(bytes_)
    assert torch.equal(curvature.spectrum(slow(log, 0), state=state).eigenvalues, values)


def test_nobody_waits_for_help(tmp_path: Path) -> None:
    assert curvature.help_with(slow(tmp_path / "log"), tmp_path / "state") == 0
    assert not (tmp_path / "state").exists()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a text")
    with pytest.raises(UserError, match="state: rows of the matrix cannot be kept there: "):
        curvature.spectrum(slow(tmp_path / "log", 0), state=tmp_path / "state")
    assert (tmp_path / "state").read_text() == "a text"
