"""Both ends of a spectrum: ten largest and five smallest eigenvalues of the default network, against scipy's solver."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from blocks import Blocks
from scipy.sparse.linalg import eigsh
from torch import Tensor
from torch.nn import functional as F

from walkers_dist import curvature
from walkers_dist.config.load import parse
from walkers_dist.curvature import Operator
from walkers_dist.landscape import build
from walkers_dist.landscape.network import Network

TOP, BOTTOM, TOL = 10, 5, 1e-4
STEPS = 30, 100, 300
"""of SGD before: the longer it is trained, the closer are the lowest eigenvalues, and the more products all need."""
PAIRS = 3


def extremes() -> Iterator[str]:
    """784-100-100-10, 1,000 random inputs, float32, tol 1e-4: scipy / ours (at most 130 products, barely trained)."""
    for steps in STEPS:
        yield from _at(steps)


def _at(steps: int) -> Iterator[str]:
    landscape, theta = trained(steps)
    truth = curvature.extremes(_double(landscape, theta), TOP, BOTTOM, tol=1e-9).eigenvalues
    H = curvature.hessian(landscape, theta)
    rebuilt = Operator(lambda V: _rebuilt(landscape, theta, V), H.size, H.dtype, H.device)
    ways: dict[str, Callable[[], tuple[Tensor, int]]] = {
        "eigsh, both ends at once, basis 60, our products": lambda: _eigsh(H),
        "eigsh, both ends at once, basis 60, double backward rebuilt": lambda: _eigsh(rebuilt),
    }
    blocks = {name: Blocks() for name in ways}
    yield f"after {steps} steps, training loss {float(landscape.loss(theta[None])):.3g}"
    for _ in range(PAIRS):
        for name, way in ways.items():
            found, ours, products = _timed(lambda: _ours(H))
            yield f"ours: {products} products, {ours:.2f} s, largest error {_error(found, truth):.1e} of the largest"
            other, seconds, count = _timed(way)
            blocks[name].add(ours, seconds)
            yield f"  {name}: {count} products, {seconds:.2f} s, error {_error(other, truth):.1e}"
    for name, measured in blocks.items():
        yield f"{name} / ours: {measured.faster()}"


CONFIG = {"data": {"name": "made_up:load"}, "model": {"name": "mlp", "hidden": [100, 100]}}


def trained(steps: int) -> tuple[Network, Tensor]:
    """The network and its parameters after steps of 100 samples."""
    landscape = build(parse({"landscape": CONFIG}, "w2").landscape, seed=0, dtype=torch.float32)
    assert isinstance(landscape, Network)
    theta = landscape.start("w0")[None]
    gradient = landscape.minibatches(["w0"], 100)
    for t in range(steps):
        theta -= 0.1 * gradient(theta, t)
    return landscape, theta[0]


def _double(landscape: Network, theta: Tensor) -> Operator:
    double = build(parse({"landscape": CONFIG}, "w2").landscape, seed=0, dtype=torch.float64)
    return curvature.hessian(double, theta.double())


def _rebuilt(landscape: Network, theta: Tensor, V: Tensor) -> Tensor:
    """A product as a person writes it: the graph made anew each time."""
    net = landscape.module(theta).requires_grad_(True)
    parameters = list(net.parameters())
    loss = F.cross_entropy(net(landscape.inputs["train"]), landscape.targets["train"].argmax(1))
    g = torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters, create_graph=True)])
    rows = [torch.cat([p.flatten() for p in torch.autograd.grad(g @ v, parameters, retain_graph=True)]) for v in V]
    return torch.stack(rows)


def _ours(H: Operator) -> tuple[Tensor, int]:
    told: list[int] = []
    found = curvature.extremes(H, TOP, BOTTOM, tol=TOL, progress=lambda products, *_: told.append(products))
    assert found.all_converged
    return found.eigenvalues, told[-1]


def _eigsh(H: Operator) -> tuple[Tensor, int]:
    counted = 0

    def product(V: Tensor) -> Tensor:
        nonlocal counted
        counted += len(V)
        return H(V)

    operator = Operator(product, H.size, H.dtype, H.device).linear_operator()
    values = torch.from_numpy(eigsh(operator, 2 * TOP, which="BE", ncv=60, tol=TOL, return_eigenvectors=False)).sort()
    return torch.cat([values.values[:BOTTOM], values.values[-TOP:]]), counted


def _timed(way: Callable[[], tuple[Tensor, int]]) -> tuple[Tensor, float, int]:
    began = time.perf_counter()
    found, products = way()
    return found, time.perf_counter() - began, products


def _error(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth).abs().max() / truth.abs().max())
