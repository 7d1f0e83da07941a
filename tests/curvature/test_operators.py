"""The Hessian as an operator, against the dense autograd Hessian."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature import Operator, gauss_newton, gradient_covariance, hessian, residual, spectrum
from walkers_dist.landscape.base import Landscape


class TinyNet(Landscape):
    """The smallest landscape there is: a 3-4-2 tanh network on 20 samples, mean squared error."""

    size, dtype, device = 3 * 4 + 4 + 4 * 2 + 2, torch.float64, torch.device("cpu")

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(3)
        self.x = torch.randn(20, 3, generator=random, dtype=self.dtype)
        self.y = torch.randn(20, 2, generator=random, dtype=self.dtype)

    def value(self, theta: Tensor) -> Tensor:
        W1, b1, W2, b2 = theta.split([12, 4, 8, 2])
        hidden = torch.tanh(self.x @ W1.view(3, 4) + b1)
        return (hidden @ W2.view(4, 2) + b2 - self.y).square().mean()

    def loss(self, theta: Tensor, *, split: str = "train", walkers: object = None) -> Tensor:
        return torch.stack([self.value(row) for row in theta])

    def hvp_at(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        point = theta.requires_grad_()
        (grad,) = torch.autograd.grad(self.value(point), point, create_graph=True)

        def product(V: Tensor) -> Tensor:
            return torch.stack([torch.autograd.grad(grad, point, v, retain_graph=True)[0] for v in V])

        return product


def point() -> Tensor:
    return torch.randn(TinyNet.size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def test_hessian_is_that_of_autograd() -> None:
    landscape, theta = TinyNet(), point()
    dense = torch.autograd.functional.hessian(landscape.value, theta)
    H = hessian(landscape, theta)
    assert (H.size, H.dtype, H.device) == (26, torch.float64, torch.device("cpu"))
    V = torch.randn(5, 26, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(H(V), V @ dense, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(spectrum(H).eigenvalues, torch.linalg.eigvalsh(dense), rtol=0, atol=1e-12)
    assert not theta.requires_grad


def test_a_float32_point_is_measured_in_the_landscapes_dtype() -> None:
    landscape = TinyNet()
    H = hessian(landscape, point().float())
    assert H(torch.eye(26, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("shape", [(25,), (1, 26), ()])
def test_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"theta has shape .* a point of this landscape is \[26\]"):
        hessian(TinyNet(), torch.zeros(shape))


@pytest.mark.parametrize("of", [hessian, gauss_newton, residual, gradient_covariance])
def test_what_only_a_module_takes_is_refused(of: Callable[..., Operator]) -> None:
    landscape, theta = TinyNet(), point()
    with pytest.raises(UserError, match=r"^chunk: only for a torch module"):
        of(landscape, theta, chunk=5)
    with pytest.raises(UserError, match=r"^data: only for a torch module"):
        of(landscape, theta, (landscape.x, landscape.y))
    with pytest.raises(UserError, match=r"^a function has no curvature: pass a Landscape or a torch.nn.Module$"):
        of(landscape.value.__func__, theta)


def operator() -> tuple[Operator, Tensor]:
    """A matrix that is written down, with blocks of 2, 3 and 1 rows."""
    A = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    A = A + A.mT
    blocks = {"a.weight": slice(0, 2), "ab.weight": slice(2, 5), "a.bias": slice(5, 6)}
    return Operator(lambda V: V @ A, 6, A.dtype, A.device, lambda: A, blocks), A


@pytest.mark.parametrize(
    ("name", "rows"), [("a", [0, 1, 5]), ("ab", [2, 3, 4]), ("a.bias", [5]), ("ab.weight", [2, 3, 4])]
)
def test_a_block_is_the_rows_and_columns_of_its_parameters(name: str, rows: list[int]) -> None:
    H, A = operator()
    block, expected = H.block(name), A[rows][:, rows]
    assert block.dense is not None
    assert block.size == len(rows)
    torch.testing.assert_close(block(torch.eye(len(rows), dtype=A.dtype)), expected, rtol=0, atol=0)
    torch.testing.assert_close(block.dense(), expected, rtol=0, atol=0)
    for key, at in (block.blocks or {}).items():
        torch.testing.assert_close(expected[at][:, at], A[(H.blocks or {})[key]][:, (H.blocks or {})[key]])


def test_a_block_of_no_such_name_is_refused() -> None:
    H, _ = operator()
    with pytest.raises(UserError, match=r"^block ab\.wait: there is none of this name; did you mean ab\.weight\?$"):
        H.block("ab.wait")
    with pytest.raises(UserError, match=r"^block a: this operator has no named blocks$"):
        Operator(H.product, 6, H.dtype, H.device).block("a")


def test_scipy_takes_any_array_and_finds_eigenvalues() -> None:
    H, A = operator()
    scipys, V = H.linear_operator(), np.arange(12.0).reshape(6, 2)
    reversed_, fixed, whole = V[::-1], np.asfortranarray(V), V.astype(np.int64)
    fixed.flags.writeable = False
    for array in (V, reversed_, fixed, whole, V[:, 0], V[:, :1]):
        np.testing.assert_allclose(scipys @ array, A.numpy() @ array, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(scipys.T @ array, A.numpy() @ array, rtol=1e-13, atol=1e-13)
    assert scipys.dtype == np.float64
    top = eigsh(scipys, k=2, which="LA", v0=np.ones(6), return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(top), torch.linalg.eigvalsh(A)[-2:].numpy(), rtol=1e-12)
