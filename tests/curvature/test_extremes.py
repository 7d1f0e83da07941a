"""Both ends of a spectrum, against dense solutions and known spectra."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from matrices import dense, diagonal, rotated
from safetensors import safe_open
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature import Operator, extremes
from walkers_dist.curvature.state import SearchState


def like_a_trained_network(n: int = 400) -> Tensor:
    """Nine outliers, a bulk at zero, a few small negative ones."""
    bulk = 1e-4 * torch.randn(n - 14, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    negative = -0.01 * torch.linspace(1, 2, 5, dtype=torch.float64)
    return torch.cat([negative, bulk, torch.linspace(1, 5, 9, dtype=torch.float64)])


def ends(sorted_values: Tensor, top: int, bottom: int) -> Tensor:
    return torch.cat([sorted_values[:bottom], sorted_values[len(sorted_values) - top :]])


@pytest.mark.parametrize(("top", "bottom"), [(5, 3), (10, 5), (2, 6), (1, 1), (4, 0), (0, 4), (25, 3)])
@pytest.mark.parametrize("n", [90, 400])
def test_equals_the_dense_solution(n: int, top: int, bottom: int) -> None:
    A = rotated(like_a_trained_network(n)) + 0.02 * rotated(torch.linspace(-1, 1, n, dtype=torch.float64)).roll(3, 0)
    A = (A + A.T) / 2
    found = extremes(dense(A), top, bottom)
    expected = ends(torch.linalg.eigvalsh(A), top, bottom)
    torch.testing.assert_close(found.eigenvalues, expected, rtol=1e-6, atol=1e-8)
    assert found.all_converged and found.residuals.shape == (top + bottom,)
    assert (found.residuals <= 1e-4 * found.eigenvalues.abs().clamp(min=1e-3 * expected.abs().max())).all()


def test_quadratic_form() -> None:
    d = torch.linspace(-3, 8, 500, dtype=torch.float64)[torch.randperm(500, generator=torch.Generator().manual_seed(6))]
    found = extremes(diagonal(d), top=4, bottom=2, tol=1e-6)
    torch.testing.assert_close(found.eigenvalues, ends(d.sort().values, 4, 2), rtol=1e-9, atol=0)


def test_residuals_bound_the_error() -> None:
    d = torch.linspace(-1, 2, 800, dtype=torch.float64)
    found = extremes(diagonal(d), top=5, bottom=5, tol=1e-2)
    distance = (found.eigenvalues[:, None] - d).abs().min(dim=1).values
    assert found.residuals.max() > 1e-9  # a loose tolerance leaves something to bound
    assert (distance <= found.residuals + 1e-14).all()


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 60, 61])
def test_small_matrices(n: int) -> None:
    d = torch.linspace(-1, 5, n, dtype=torch.float64)
    found = extremes(diagonal(d), top=min(5, n), bottom=min(3, n))
    torch.testing.assert_close(found.eigenvalues, d if n <= 8 else ends(d, 5, 3), rtol=0, atol=1e-10)
    assert found.all_converged


class Counting:
    """An operator that counts its products."""

    def __init__(self, d: Tensor) -> None:
        self.products = 0
        self.operator = Operator(self._product, len(d), d.dtype, d.device)
        self.d = d

    def _product(self, V: Tensor) -> Tensor:
        self.products += len(V)
        return self.d * V


def test_both_ends_come_from_one_run_of_few_products() -> None:
    """ARPACK took 213 for both ends together, and 2,822 for the two one after the other."""
    counting = Counting(like_a_trained_network(3000))
    found = extremes(counting.operator, top=5, bottom=3)
    assert counting.products < 130 and found.all_converged


def test_same_start_same_bits() -> None:
    A = dense(rotated(torch.linspace(-1, 1, 200, dtype=torch.float64)))
    v0 = torch.randn(200, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    first, again, seeded = extremes(A, 3, 3, v0=v0), extremes(A, 3, 3, v0=v0), extremes(A, 3, 3, seed=9)
    other = extremes(A, 3, 3, seed=10)
    assert torch.equal(first.eigenvalues, again.eigenvalues) and torch.equal(first.residuals, again.residuals)
    assert torch.equal(first.eigenvalues, seeded.eigenvalues)
    assert not torch.equal(first.residuals, other.residuals)


def test_same_bits_where_the_space_of_the_start_is_exhausted() -> None:
    """The start is an eigenvector: the run goes on with a random vector of the seed."""
    d = torch.linspace(-1, 1, 200, dtype=torch.float64)
    H, v0 = diagonal(d), torch.eye(200, dtype=torch.float64)[70]
    first, again, other = (extremes(H, 2, 2, seed=seed, v0=v0) for seed in (5, 5, 6))
    assert torch.equal(first.residuals, again.residuals) and torch.equal(first.eigenvalues, again.eigenvalues)
    assert not torch.equal(first.residuals, other.residuals)
    torch.testing.assert_close(first.eigenvalues, d[[0, 1, -2, -1]], rtol=1e-6, atol=0)


def test_copies_of_two_eigenvalues() -> None:
    found = extremes(dense(rotated(torch.tensor([1.0, 2.0], dtype=torch.float64).repeat(100))), 2, 2)
    torch.testing.assert_close(found.eigenvalues, torch.tensor([1, 1, 2, 2], dtype=torch.float64))
    assert found.all_converged


def test_zeros_at_an_end() -> None:
    d = torch.zeros(300, dtype=torch.float64)
    d[:6] = torch.arange(1, 7)
    found = extremes(diagonal(d), top=3, bottom=2)
    torch.testing.assert_close(
        found.eigenvalues, torch.tensor([0, 0, 4, 5, 6], dtype=torch.float64), rtol=0, atol=1e-12
    )
    assert found.all_converged
    flat = extremes(diagonal(torch.zeros(300, dtype=torch.float64)), top=3, bottom=2)
    assert flat.eigenvalues.tolist() == [0] * 5 and flat.all_converged


def test_what_has_not_converged_says_so() -> None:
    d = torch.logspace(0, -12, 500, dtype=torch.float64)  # no method separates the lower end of this to 1e-9
    found = extremes(diagonal(d), top=3, bottom=2, tol=1e-9)
    assert found.converged.tolist()[2:] == [True] * 3
    torch.testing.assert_close(found.eigenvalues[2:], d[:3].flip(0), rtol=1e-6, atol=0)
    assert found.eigenvalues.isnan().tolist() == (~found.converged).tolist()
    assert not found.converged[:2].any() and not found.all_converged
    assert (found.residuals[:2] > 1e-12).all() and found.residuals.isfinite().all()


def test_nothing_asked_nothing_done() -> None:
    def product(V: Tensor) -> Tensor:
        raise AssertionError("asked for a product")

    found = extremes(Operator(product, 500, torch.float64, torch.device("cpu")), top=0, bottom=0)
    assert found.eigenvalues.shape == found.residuals.shape == (0,)


@pytest.mark.parametrize("n", [20, 200])
def test_products_that_are_not_finite_are_refused(n: int) -> None:
    d = torch.ones(n, dtype=torch.float64)
    d[4] = torch.nan
    with pytest.raises(UserError, match="eigenvalues mean nothing"):
        extremes(diagonal(d), 3, 3)


def test_float32_stays_float32() -> None:
    found = extremes(diagonal(torch.linspace(1, 2, 300, dtype=torch.float32)), 2, 2)
    assert found.eigenvalues.dtype == torch.float32
    torch.testing.assert_close(found.eigenvalues[[0, 3]], torch.tensor([1.0, 2.0]), rtol=1e-5, atol=0)


# ---- copies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [70, 300])
@pytest.mark.parametrize("seed", range(5))
def test_the_identity_has_as_many_ones_as_are_asked_for(n: int, seed: int) -> None:
    found = extremes(diagonal(torch.ones(n, dtype=torch.float64)), 4, 3, seed=seed, vectors=True)
    assert found.vectors is not None and found.all_converged
    torch.testing.assert_close(found.eigenvalues, torch.ones(7, dtype=torch.float64))
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(7, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(10))
def test_a_top_that_occurs_five_times(seed: int) -> None:
    d = torch.cat([torch.full((5,), 3.0), torch.linspace(-1, 2, 400)]).double()
    found = extremes(dense(rotated(d)), 6, 2, tol=1e-6, seed=seed)
    torch.testing.assert_close(found.eigenvalues, ends(d.sort().values, 6, 2), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_the_zeros_at_the_bottom_of_a_matrix_of_low_rank(seed: int) -> None:
    d = torch.cat([torch.zeros(300), torch.logspace(-3, 1, 80)]).double()
    found = extremes(dense(rotated(d)), 3, 5, seed=seed)
    torch.testing.assert_close(found.eigenvalues, ends(d.sort().values, 3, 5), rtol=1e-6, atol=1e-6 * 10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["lanczos", "rayleigh"])
def test_ends_that_meet_are_all_there_are(method, dtype: torch.dtype) -> None:
    d = torch.tensor([-1, -1, 0, 0, 2, 2, 2]).to(dtype)
    for top, bottom in ((7, 0), (0, 7), (5, 5), (7, 7)):
        found = extremes(diagonal(d), top, bottom, method=method)
        torch.testing.assert_close(found.eigenvalues, d, rtol=0, atol=1e-5)
        assert found.converged.shape == (7,) and found.all_converged


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_copies_at_both_ends_at_once(dtype: torch.dtype, seed: int) -> None:
    """G of a network with dead units: many exact zeros at the bottom, and a top that occurs five times."""
    d = torch.cat([torch.zeros(2000), torch.linspace(0.1, 2, 80), torch.full((5,), 3.0)]).to(dtype)
    found = extremes(diagonal(d), 6, 5, seed=seed)
    torch.testing.assert_close(found.eigenvalues, ends(d, 6, 5), rtol=1e-5, atol=3e-6)
    assert found.all_converged


@pytest.mark.parametrize("seed", range(5))
def test_negative_pairs_beside_the_bulk(seed: int) -> None:
    generator = torch.Generator().manual_seed(1)
    bulk = torch.rand(5000, generator=generator, dtype=torch.float64)
    d = torch.cat([bulk, torch.tensor([-0.05, -0.1, -0.1, -0.2, -0.3, 4, 5, 6, 6]).double()]).sort().values
    found = extremes(diagonal(d), 4, 5, seed=seed)
    torch.testing.assert_close(found.eigenvalues, ends(d, 4, 5), rtol=0, atol=6e-6)


def test_zero_rows_of_a_matrix() -> None:
    """Parameters that nothing depends on: as many zeros as there are, no more."""
    A = torch.zeros(300, 300, dtype=torch.float64)
    positive = rotated(torch.linspace(1, 9, 297, dtype=torch.float64))
    A[:297, :297] = positive
    found = extremes(dense(A), 2, 5)
    expected = ends(torch.cat([torch.zeros(3).double(), torch.linspace(1, 9, 297).double()]), 2, 5)
    torch.testing.assert_close(found.eigenvalues, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_none_is_missed_over_fifty_seeds(dtype: torch.dtype) -> None:
    """Top 10 and bottom 5 of spectra like those of trained networks, pairs of equal outliers among them."""
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        d = like_a_trained_network(400).clone()
        d[-5:-3] = d[-5]  # a pair
        A = rotated(d)
        values = torch.linalg.eigvalsh(A)
        H = dense(A.to(dtype))
        v0 = torch.randn(400, generator=generator, dtype=torch.float64)
        tol = 1e-6 if dtype == torch.float64 else 1e-4
        found = extremes(H, 10, 5, tol=tol, v0=v0, seed=seed)
        allowed = {torch.float64: 1e-6, torch.float32: 1e-4}[dtype] * float(values.max())
        assert (found.eigenvalues.double() - ends(values, 10, 5)).abs().max() <= allowed, seed


# ---- vectors, progress, the independent check -------------------------------------------------------------------


@pytest.mark.parametrize("n", [40, 300])
def test_vectors_are_unit_rows_of_a_fixed_sign(n: int) -> None:
    A = rotated(like_a_trained_network(n))
    found = extremes(dense(A), 3, 2, tol=1e-6, vectors=True)
    V = found.vectors
    assert V is not None
    torch.testing.assert_close(V.norm(dim=1), torch.ones(5, dtype=torch.float64))
    residual = (V @ A - found.eigenvalues[:, None] * V).norm(dim=1)
    torch.testing.assert_close(residual, found.residuals, rtol=1e-2, atol=1e-9)
    assert (V.gather(1, V.abs().argmax(1, keepdim=True)) > 0).all()
    again = extremes(dense(A), 3, 2, tol=1e-6, vectors=True, seed=5).vectors
    assert again is not None and (V - again).abs().max() < 1e-4


def test_progress_is_told() -> None:
    told: list[tuple[int, int, int]] = []
    extremes(diagonal(like_a_trained_network(500)), 3, 2, progress=lambda *heard: told.append(heard))
    assert [products for products, _, _ in told] == list(range(1, len(told) + 1))
    assert all(wanted == 5 for _, _, wanted in told) and told[-1][1] == 5


@pytest.mark.parametrize("n", [30, 200])
def test_the_rayleigh_quotient_agrees(n: int) -> None:
    """SPEC F 21: the original's L-BFGS, to 1e-4 of the largest."""
    A = rotated(like_a_trained_network(n))
    values = torch.linalg.eigvalsh(A)
    found = extremes(dense(A), 3, 2, method="rayleigh", vectors=True)
    assert (found.eigenvalues - ends(values, 3, 2)).abs().max() <= 1e-4 * values.max()
    assert found.vectors is not None and found.vectors.shape == (5, n)


def test_what_cannot_be_asked() -> None:
    for words in ({"top": -1}, {"bottom": -1}, {"tol": 0.0}):
        with pytest.raises(UserError, match="must be at least 0, and tol above 0"):
            extremes(diagonal(torch.ones(5)), **words)
    with pytest.raises(UserError, match="method = power: must be lanczos or rayleigh"):
        extremes(diagonal(torch.ones(5)), method="power")
    for v0 in (torch.zeros(200), torch.ones(3), torch.full((200,), torch.nan)):
        with pytest.raises(UserError, match=r"must be \[200\], finite and not zero"):
            extremes(diagonal(torch.ones(200)), v0=v0)


# ---- a search that is killed ------------------------------------------------------------------------------------

SLOW = """
import sys, time, torch
from walkers_dist.curvature import Operator, extremes
from walkers_dist.curvature.state import SearchState
d = torch.linspace(-1, 2, 1000, dtype=torch.float64)
def product(V):
    time.sleep(0.01)
    print(1, flush=True)
    return d * V
found = extremes(Operator(product, 1000, d.dtype, d.device), 4, 2, state=sys.argv[1])
print("found", found.eigenvalues.numpy().tobytes().hex(), found.residuals.numpy().tobytes().hex(), flush=True)
"""


def search(state: str, kill_from: int | None = None) -> tuple[int, str, int]:
    """Products made, the last line printed, and products in the state that a kill left: `kill_from` or more."""
    with subprocess.Popen([sys.executable, "-c", SLOW, state], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = []
        for line in child.stdout:
            lines.append(line.strip())
            if kill_from and products_in(state) >= kill_from:
                os.kill(child.pid, signal.SIGKILL)
                break
        child.wait()
    return lines.count("1"), lines[-1], products_in(state)


def products_in(state: str) -> int:
    if not os.path.exists(state):
        return 0
    with safe_open(state, framework="np") as file:
        return json.loads(file.metadata()["search"])["products"]


def test_killed_it_goes_on_and_finds_the_same_bits(tmp_path) -> None:
    undisturbed, found, _ = search(str(tmp_path / "undisturbed"))
    state = str(tmp_path / "state")
    before, _, kept = search(state, kill_from=40)
    after, again, _ = search(state)
    assert found.startswith("found ") and again == found
    assert kept >= 40 and before < undisturbed
    assert after == undisturbed - kept  # both have one more, by which a state is known again
    assert list(tmp_path.iterdir()) == []


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [25, 60, 101, 180, 199])
def test_at_most_a_tenth_is_done_again(tmp_path, monkeypatch, at: int) -> None:
    """With products that take a second each by the clock, and writes that take none."""
    H = Counting(torch.linspace(-1, 2, 1000, dtype=torch.float64))
    monkeypatch.setattr("walkers_dist.curvature.state.time.perf_counter", lambda: float(H.products))
    undisturbed = extremes(H.operator, 4, 2)
    total, H.products = H.products, 0

    def kill(products: int, *_: int) -> None:
        if products == min(at, total - 1):
            raise Killed

    with pytest.raises(Killed):
        extremes(H.operator, 4, 2, state=tmp_path / "state", progress=kill)
    again = extremes(H.operator, 4, 2, state=tmp_path / "state")
    assert H.products - total <= 0.1 * total + 2, (H.products, total)  # 2: by which a state is known again
    assert torch.equal(again.eigenvalues, undisturbed.eigenvalues)
    assert torch.equal(again.residuals, undisturbed.residuals)


def test_the_state_of_another_search_is_as_none(tmp_path) -> None:
    d = like_a_trained_network(500)
    state = tmp_path / "state"

    class Enough(Exception):
        pass

    def stop(products: int, *_: int) -> None:
        if products == 15:
            raise Enough

    with pytest.raises(Enough):
        extremes(diagonal(d), 3, 2, state=state, progress=stop)
    counting = Counting(2 * d)
    found = extremes(counting.operator, 3, 2, state=state)
    torch.testing.assert_close(found.eigenvalues, extremes(counting.operator, 3, 2).eigenvalues, rtol=0, atol=0)


def test_a_damaged_state_is_as_none(tmp_path, monkeypatch) -> None:
    """Cut off, or one bit of a number wrong."""
    H, state = diagonal(like_a_trained_network(500)), tmp_path / "state"
    found = extremes(H, 3, 2)

    def kill(products: int, *_: int) -> None:
        if products == 15:
            raise Killed

    for damage in (lambda whole: whole[:-9], lambda whole: whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):
        monkeypatch.setattr(SearchState, "save", SearchState.write)  # at every product
        with pytest.raises(Killed):
            extremes(H, 3, 2, state=state, progress=kill)
        state.write_bytes(damage(state.read_bytes()))
        told: list[int] = []
        again = extremes(H, 3, 2, state=state, progress=lambda products, *_, told=told: told.append(products))
        assert told[0] == 1 and torch.equal(again.eigenvalues, found.eigenvalues)
