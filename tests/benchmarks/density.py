"""Densities by stochastic Lanczos quadrature: all probes at once, against a loop over probes and double backward."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from blocks import Blocks
from torch import Tensor
from torch.nn import functional as F

from walkers_dist import curvature
from walkers_dist.config.load import parse
from walkers_dist.curvature.density import probe_vectors
from walkers_dist.distributed import devices
from walkers_dist.landscape import build
from walkers_dist.landscape.network import Network

LARGE = {"data": {"name": "made_up:load"}, "model": {"name": "mlp", "hidden": [100, 100]}}
DIGITS = {"data": {"name": "digits", "train_size": 1000}, "model": {"name": "mlp", "hidden": [30, 30]}}
STEPS = 100
PAIRS = 5
Quadrature = tuple[Tensor, Tensor]
"""Nodes and weights, [probes, steps]."""


def density() -> Iterator[str]:
    """784-100-100-10, one probe, and digits 64-30-30-10, ten probes, 100 steps, float32: Lanczos as a person writes it,
    with full reorthogonalisation, each probe by itself / ours (at least 2.5 and 5 against the best of them)."""
    devices.set_up_process(threads=1)
    for name, config, probes in (("784-100-100-10", LARGE, 1), ("digits", DIGITS, 10)):
        yield from _compared(name, config, probes)


def _compared(name: str, config: dict[str, Any], probes: int) -> Iterator[str]:
    landscape, theta = trained(config)
    ways: dict[str, Callable[[], Quadrature]] = {
        "double backward rebuilt": lambda: loop(DoubleBackward(landscape, theta, retained=False), probes),
        "double backward, retained graph": lambda: loop(DoubleBackward(landscape, theta, retained=True), probes),
        "ours, reorthogonalised": lambda: ours(landscape, theta, probes, reorthogonalize=True),
    }
    blocks = {way: Blocks() for way in ways}
    for _ in range(PAIRS):
        found, seconds = _timed(lambda: ours(landscape, theta, probes))
        for way, run in ways.items():
            other, theirs = _timed(run)
            blocks[way].add(seconds, theirs)
            torch.testing.assert_close(moments(other), moments(found), rtol=1e-4, atol=1e-6)
    best, floor = min(blocks[next(iter(ways))].ours), probes * STEPS * operations(landscape) / peak()
    yield f"{name}, probes: {probes}; ours {best:.2f} s; its products at the peak of matrix products {floor:.2f} s"
    for way, measured in blocks.items():
        yield f"  {way} / ours: {measured.faster()}"


def trained(config: dict[str, Any]) -> tuple[Network, Tensor]:
    """The network and its parameters after 300 steps."""
    landscape = build(parse({"landscape": config}, "density").landscape, seed=0, dtype=torch.float32)
    assert isinstance(landscape, Network)
    theta = landscape.start("w0")[None]
    gradient = landscape.minibatches(["w0"], 100)
    for t in range(300):
        theta -= 0.1 * gradient(theta, t)
    return landscape, theta[0]


def ours(landscape: Network, theta: Tensor, probes: int, reorthogonalize: bool = False) -> Quadrature:
    H = curvature.hessian(landscape, theta)
    found = curvature.density(H, probes, STEPS, reorthogonalize=reorthogonalize)
    return found.nodes, found.weights


class DoubleBackward:
    """A product as a person writes it: the graph made anew each time, or kept."""

    def __init__(self, landscape: Network, theta: Tensor, retained: bool) -> None:
        self.net = landscape.module(theta).requires_grad_(True)
        self.parameters = list(self.net.parameters())
        self.x, self.y = landscape.inputs["train"], landscape.targets["train"].argmax(1)
        self.like = curvature.Operator(lambda V: V, len(theta), theta.dtype, theta.device)
        self.kept = self.gradient() if retained else None

    def gradient(self) -> Tensor:
        loss = F.cross_entropy(self.net(self.x), self.y)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, self.parameters, create_graph=True)])

    def __call__(self, v: Tensor) -> Tensor:
        g = self.gradient() if self.kept is None else self.kept
        return torch.cat([p.flatten() for p in torch.autograd.grad(g, self.parameters, v, retain_graph=True)])


def loop(product: DoubleBackward, probes: int) -> Quadrature:
    """Lanczos of each probe by itself; every vector is orthogonalised against all before it, one after the other.

    So do PyHessian (graph retained for one batch, rebuilt for a loader) and hessian-eigenthings (rebuilt).
    """
    found = [_lanczos(product, v / len(v) ** 0.5) for v in probe_vectors(product.like, range(probes), 0, "density")]
    nodes, weights = zip(*found, strict=True)
    return torch.stack(nodes), torch.stack(weights)


def _lanczos(product: DoubleBackward, v: Tensor) -> Quadrature:
    Q, T = v.new_empty(STEPS, len(v)), torch.zeros(STEPS, STEPS, dtype=torch.float64)
    for j in range(STEPS):
        Q[j] = v
        w = product(v)
        T[j, j] = v @ w
        w = w - T[j, j].to(w) * v
        for q in Q[: j + 1]:
            w -= (q @ w) * q
        if j + 1 < STEPS:
            T[j, j + 1] = T[j + 1, j] = w.norm()
        v = w / w.norm()
    nodes, S = torch.linalg.eigh(T)
    return nodes, S[0].square()


def moments(found: Quadrature) -> Tensor:
    """The first four of each probe, [probes, 4], in units of the largest node."""
    nodes, weights = found
    return torch.stack([((nodes / nodes.max()) ** k * weights).sum(1) for k in (1, 2, 3, 4)], dim=1)


def operations(landscape: Network) -> float:
    """Of one product, in its matrix products: 4 for each sample and weight of the first layer, 12 for the others."""
    first, *others = [p.numel() for p in landscape.module(landscape.start("w0")).parameters() if p.ndim == 2]
    return len(landscape.inputs["train"]) * (4.0 * first + 12 * sum(others))


def peak() -> float:
    """Operations per second of a float32 matrix product of 1,000 x 1,000."""
    A = torch.randn(1000, 1000)
    return 2e9 / min(_timed(lambda: A @ A)[1] for _ in range(20))


def _timed(way: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    found = way()
    return found, time.perf_counter() - began
