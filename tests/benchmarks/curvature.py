"""Hessian-vector products and the whole spectrum, as the analyst of the quickstart computes them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from blocks import Blocks
from torch import Tensor
from torch.nn import functional as F

from walkers_dist import curvature
from walkers_dist.config.landscape import NetworkConfig
from walkers_dist.distributed import devices
from walkers_dist.landscape import build
from walkers_dist.landscape.network import Network

BLOCKS = 30
DIRECTIONS = 32


def products() -> Iterator[str]:
    """Products of the Hessian on digits 64-30-30-10, against double backward through a retained graph."""
    devices.set_up_process(threads=1)
    for dtype in ("float32", "float64"):
        landscape = build(NetworkConfig(), dtype=dtype, device="cpu")
        assert isinstance(landscape, Network)
        theta = landscape.start("w0")
        H, graph = curvature.hessian(landscape, theta), _RetainedGraph(landscape, theta)
        V = torch.randn(DIRECTIONS, landscape.size, dtype=landscape.dtype)
        torch.testing.assert_close(H(V), graph(V), rtol=1e-3, atol=1e-4)
        for directions in (V, V[:1]):
            blocks = Blocks()
            for _ in range(BLOCKS):
                began = time.perf_counter()
                H(directions)
                ours = time.perf_counter() - began
                began = time.perf_counter()
                graph(directions)
                blocks.add(ours, time.perf_counter() - began)
            each = sorted(blocks.ours)[BLOCKS // 2] / len(directions)
            yield f"{dtype}, directions at once: {len(directions)}; {1e3 * each:.2f} ms each, ratio {blocks}"
    began = time.perf_counter()
    curvature.spectrum(H)
    yield f"{dtype}, all {H.size} eigenvalues: {time.perf_counter() - began:.1f} s"


class _RetainedGraph:
    """Hessian-vector products as a person writes them, one direction at a time."""

    def __init__(self, landscape: Network, theta: Tensor) -> None:
        model = landscape.module(theta)
        self.parameters = list(model.parameters())
        loss = F.cross_entropy(model(landscape.inputs["train"]), landscape.targets["train"])
        grads = torch.autograd.grad(loss, self.parameters, create_graph=True)
        self.g = torch.cat([g.flatten() for g in grads])

    def __call__(self, V: Tensor) -> Tensor:
        rows = [torch.autograd.grad(self.g, self.parameters, v, retain_graph=True) for v in V]
        return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
