"""Extreme eigenvalues of a torch module's loss as others find them, each counted and each from the module on."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn import functional as F


class Found(NamedTuple):
    """The `bottom` smallest and the `top` largest, ascending, and the products that took, where they are counted."""

    eigenvalues: Tensor
    products: int | None


Way = Callable[[], Found]


class Task(NamedTuple):
    """Ends of the Hessian of the mean cross-entropy of `net` on (x, y), to `tol`.

    Basis of `basis` vectors where a method restarts, and `steps` where it does not.
    """

    net: nn.Module
    x: Tensor
    y: Tensor
    top: int
    bottom: int
    tol: float
    basis: int
    steps: int

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.net.parameters())

    def gradient(self) -> tuple[Tensor, ...]:
        return torch.autograd.grad(F.cross_entropy(self.net(self.x), self.y), self.parameters, create_graph=True)

    def product(self, g: tuple[Tensor, ...], v: Tensor, *, again: bool) -> Tensor:
        sizes = [p.numel() for p in self.parameters]
        parts = [part.view_as(p) for part, p in zip(v.split(sizes), self.parameters, strict=True)]
        rows = torch.autograd.grad(g, self.parameters, parts, retain_graph=again)
        return torch.cat([row.reshape(-1) for row in rows])


def ways(task: Task) -> dict[str, Way]:
    """Those of scipy, and of the libraries that are installed."""
    found: dict[str, Way] = {
        "eigsh, double backward rebuilt": lambda: _eigsh(task, lambda v: task.product(task.gradient(), v, again=False)),
        "eigsh, double backward through a retained graph": lambda: _retained(task),
    }
    if find_spec("curvlinops"):
        found["curvlinops, eigsh"] = lambda: _curvlinops(task)
    if find_spec("hessian_eigenthings"):
        found[f"hessian-eigenthings, {task.steps} steps, reorthogonalised"] = lambda: _eigenthings(task)
    if find_spec("pyhessian") and not task.bottom:
        found["PyHessian, tolerance 1e-6"] = lambda: _pyhessian(task)
    return found


def by_eigsh(task: Task, product: Callable[[Tensor], Tensor]) -> Way:
    """`product: [P] -> [P]`."""
    return lambda: _eigsh(task, product)


def _retained(task: Task) -> Found:
    g = task.gradient()
    return _eigsh(task, lambda v: task.product(g, v, again=True))


def _eigsh(task: Task, product: Callable[[Tensor], Tensor]) -> Found:
    """Both ends in one run, from its own random start: it finds as many at either end."""
    counted = 0

    def counting(v: np.ndarray) -> np.ndarray:
        nonlocal counted
        counted += 1
        return product(torch.from_numpy(v.reshape(-1).copy())).numpy()

    P = sum(p.numel() for p in task.parameters)
    A = LinearOperator((P, P), matvec=counting, dtype=np.float32)
    which, k = ("BE", 2 * max(task.top, task.bottom)) if task.bottom else ("LA", task.top)
    values = eigsh(A, k, which=which, ncv=task.basis, tol=task.tol, return_eigenvectors=False)
    return Found(_ends(task, torch.from_numpy(values)), counted)


def _curvlinops(task: Task) -> Found:
    from curvlinops import HessianLinearOperator

    A = HessianLinearOperator(
        task.net, nn.CrossEntropyLoss(), task.parameters, [(task.x, task.y)], check_deterministic=False
    )
    product = A.to_scipy()
    return _eigsh(task, lambda v: torch.from_numpy(product @ v.numpy()))


def _eigenthings(task: Task) -> Found:
    """One run for both ends: as many values as there are steps, of which the outer ones count."""
    from hessian_eigenthings.algorithms.lanczos import lanczos
    from hessian_eigenthings.operators.hessian import HessianOperator

    A = HessianOperator(task.net, [(task.x, task.y)], lambda net, batch: F.cross_entropy(net(batch[0]), batch[1]))
    k = task.steps if task.bottom else task.top
    found = lanczos(A, k=k, max_iter=task.steps, which="LA", reorthogonalize=True, seed=0)
    return Found(_ends(task, found.eigenvalues), task.steps)


def _pyhessian(task: Task) -> Found:
    """With one batch it keeps the graph. It has no bottom, and its top is that of the absolute values."""
    import pyhessian

    A = pyhessian.hessian(task.net, nn.CrossEntropyLoss(), data=(task.x, task.y), cuda=False)
    values, _ = A.eigenvalues(maxIter=200, tol=1e-6, top_n=task.top)
    return Found(torch.tensor(values).sort().values, None)


def _ends(task: Task, values: Tensor) -> Tensor:
    values = values.sort().values
    return torch.cat([values[: task.bottom], values[len(values) - task.top :]])
