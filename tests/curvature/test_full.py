"""The whole spectrum, of matrices whose spectrum is known."""

from __future__ import annotations

import pytest
import torch
from matrices import dense, rotated
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature import Operator, full, spectrum
from walkers_dist.curvature.full import CHUNK, LARGEST_WITH_VECTORS


@pytest.mark.parametrize("n", [1, 7, CHUNK["cpu"], CHUNK["cpu"] + 1, 3 * CHUNK["cpu"] + 5])
def test_known_spectrum(n: int) -> None:
    known = torch.linspace(-2, 5, n, dtype=torch.float64)
    found = spectrum(dense(rotated(known)))
    torch.testing.assert_close(found.eigenvalues, known, rtol=0, atol=1e-12)
    assert found.vectors is None


def test_quadratic_form_gives_its_curvatures() -> None:
    curvature = torch.tensor([3.0, -1.0, 0.0, 7.0], dtype=torch.float64)
    H = Operator(lambda V: curvature * V, 4, torch.float64, torch.device("cpu"))
    assert spectrum(H).eigenvalues.tolist() == [-1, 0, 3, 7]


def test_vectors_are_columns() -> None:
    A = rotated(torch.linspace(-1, 1, 40, dtype=torch.float64))
    found = spectrum(dense(A), vectors=True)
    assert found.vectors is not None
    torch.testing.assert_close(A @ found.vectors, found.vectors * found.eigenvalues, rtol=0, atol=1e-12)


def test_products_come_in_bounded_chunks() -> None:
    rows: list[int] = []

    def product(V: Tensor) -> Tensor:
        rows.append(len(V))
        return 2 * V

    spectrum(Operator(product, 70, torch.float64, torch.device("cpu")))
    assert rows == [32, 32, 6]


def test_symmetrised() -> None:
    A = torch.randn(50, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(spectrum(dense(A)).eigenvalues, torch.linalg.eigvalsh((A + A.T) / 2))


def test_dtype_is_the_operators() -> None:
    assert spectrum(dense(torch.eye(5, dtype=torch.float32))).eigenvalues.dtype == torch.float32


@pytest.mark.parametrize(("i", "j"), [(0, 0), (2, 41), (41, 2)])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_entry_that_is_not_finite_is_named(i: int, j: int, value: float) -> None:
    A = torch.eye(45, dtype=torch.float64)
    A[i, j] = value

    def product(V: Tensor) -> Tensor:  # row by row, as 0 * nan would spoil the other rows
        return A[V.argmax(dim=1)]

    with pytest.raises(UserError, match=rf"entry \[{i}, {j}\] of the matrix is {value}"):
        spectrum(Operator(product, 45, torch.float64, torch.device("cpu")))


def test_more_vectors_than_lapack_can_give_are_refused_before_any_work() -> None:
    def product(V: Tensor) -> Tensor:
        raise AssertionError("asked for a product")

    P = LARGEST_WITH_VECTORS + 1
    assert 1 + 6 * P + 2 * P**2 >= 2**31 > 1 + 6 * (P - 1) + 2 * (P - 1) ** 2
    with pytest.raises(UserError, match=r"32767 parameters: at most 32766 .*extremes"):
        spectrum(Operator(product, P, torch.float64, torch.device("cpu")), vectors=True)


def never(V: Tensor) -> Tensor:
    raise AssertionError("asked for a product")


def test_an_assembled_matrix_needs_no_products() -> None:
    known = torch.linspace(-2, 5, 70, dtype=torch.float64)
    H = Operator(never, 70, known.dtype, known.device, dense=lambda: rotated(known))
    torch.testing.assert_close(spectrum(H).eigenvalues, known, rtol=0, atol=1e-12)


def test_an_assembled_matrix_is_checked_in_both_triangles() -> None:
    """A solver reads one of them."""
    A = torch.eye(9, dtype=torch.float64)
    A[2, 7] = torch.nan
    with pytest.raises(UserError, match=r"entry \[2, 7\] of the matrix is nan"):
        spectrum(Operator(never, 9, A.dtype, A.device, dense=lambda: A))


def test_finite_entries_of_infinite_sum_are_no_error() -> None:
    huge = torch.full((4,), 1e308, dtype=torch.float64)
    assert not huge.sum().isfinite()
    torch.testing.assert_close(spectrum(dense(huge.diag())).eigenvalues, huge)


def test_progress_counts_rows() -> None:
    told: list[tuple[int, int]] = []
    A = rotated(torch.ones(70, dtype=torch.float64))
    spectrum(dense(A), progress=lambda done, total: told.append((done, total)))
    assert told == [(32, 70), (64, 70), (70, 70)]
    told.clear()
    spectrum(
        Operator(never, 70, A.dtype, A.device, dense=lambda: A), progress=lambda done, total: told.append((done, total))
    )
    assert told == [(70, 70)]


def test_where_the_solver_fails_in_single_precision_it_is_done_in_double(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original, known = torch.linalg.eigvalsh, torch.linspace(1, 2, 30)

    def fails_in_single(A: Tensor) -> Tensor:
        if A.dtype == torch.float32:
            raise torch.linalg.LinAlgError("failed to\nconverge")
        return original(A)

    monkeypatch.setattr(torch.linalg, "eigvalsh", fails_in_single)
    found = spectrum(dense(rotated(known))).eigenvalues
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, known)
    said = capsys.readouterr().err
    assert said.startswith("warning: ") and said.count("\n") == 1
    assert "30 parameters in float32 on cpu" in said and "tried again in float64 on cpu" in said


def test_where_the_solver_fails_altogether_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(A: Tensor) -> Tensor:
        raise torch.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(torch.linalg, "eigvalsh", fails)
    with pytest.raises(UserError, match="failed on a matrix of 30 parameters: no convergence"):
        spectrum(dense(torch.eye(30, dtype=torch.float64)))


def test_a_gpu_has_two_ways_more() -> None:
    on_gpu = torch.empty(1, 1, device="meta")  # any device that is not the CPU
    ways = [(str(dtype), device.type) for dtype, device in full._ways(on_gpu)]
    assert ways == [("torch.float32", "meta"), ("torch.float64", "meta"), ("torch.float64", "cpu")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu() -> None:
    known = torch.linspace(-2, 5, 700, dtype=torch.float64)
    found = spectrum(dense(rotated(known).cuda())).eigenvalues
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), known, rtol=0, atol=1e-11)
