"""Interpolation and plane as the analyst measures them, against loops over the same points, one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import torch
from blocks import Blocks
from torch import Tensor, nn
from torch.nn import functional as F

from walkers_dist.config.landscape import NetworkConfig
from walkers_dist.distributed import devices
from walkers_dist.landscape import build
from walkers_dist.landscape.network import Network
from walkers_dist.probes import paths
from walkers_dist.probes.interpolation import Interpolation
from walkers_dist.probes.paths import evenly
from walkers_dist.probes.plane import Axes, orthonormal, plane_values

BLOCKS = 20
POINTS = 5
GRID = 51


def pictures() -> Iterator[str]:
    """31 points between all pairs of 5 points (at most 1.0), and a plane of 51 x 51 (at most 2 s, and 1.0), digits."""
    devices.set_up_process(threads=1)
    landscape = build(NetworkConfig(), dtype="float64", device="cpu")  # as the analyst's
    assert isinstance(landscape, Network)
    generator = torch.Generator().manual_seed(0)
    X = landscape.start("w0") + 0.1 * torch.randn(POINTS, landscape.size, generator=generator, dtype=torch.float64)
    yield _interpolation(landscape, X)
    yield _plane(landscape, X)


def _interpolation(landscape: Network, X: Tensor) -> str:
    probe, bare = Interpolation(), _BarePoints(landscape)
    names = [f"w{i}" for i in range(POINTS)]

    def ours() -> list[Sequence[Any]]:
        return [row[5:] for row in probe.rows(landscape, X, names, step=0)]

    def one_at_a_time() -> None:
        with mock.patch.object(paths, "ROWS_AT_ONCE", 1):
            ours()

    def loop() -> list[list[float]]:
        t = evenly(probe.from_, probe.to, probe.points)
        return [
            bare.figures(_spherical(X[i], X[j], at)) for i in range(POINTS) for j in range(i + 1, POINTS) for at in t
        ]

    _same(ours(), loop())
    single, by_hand = Blocks(), Blocks()
    for _ in range(BLOCKS):
        seconds = _seconds(ours)
        single.add(seconds, _seconds(one_at_a_time))
        by_hand.add(seconds, _seconds(loop))
    return f"310 points of 10 pairs with gradients: {_of_a_core(ours)}; / one at a time {single}; / bare loop {by_hand}"


def _plane(landscape: Network, X: Tensor) -> str:
    bare = _BarePoints(landscape)
    axes = orthonormal(X[0], X[1] - X[0], X[2] - X[0], "they")
    us, vs = evenly(-2, 6, GRID), evenly(-2, 6, GRID)
    grid = [(u, v) for v in vs for u in us]

    def ours() -> list[list[float | None]]:
        return plane_values(landscape, axes, grid)

    def loop() -> list[list[float]]:
        return [bare.values(_at(axes, u, v)) for u, v in grid]

    _same(ours(), loop())
    blocks = Blocks()
    for _ in range(BLOCKS):
        blocks.add(_seconds(ours), _seconds(loop))
    return f"plane of {GRID} x {GRID}: {_of_a_core(ours)}; / bare loop {blocks}"


class _BarePoints:
    """A torch module that one point after the other is written into, and measured on both whole splits."""

    def __init__(self, landscape: Network) -> None:
        self.model = landscape.module(landscape.start("w0"))
        self.parameters = list(self.model.parameters())
        self.splits = [(landscape.inputs[s], landscape.targets[s].argmax(1)) for s in ("train", "test")]

    def values(self, theta: Tensor) -> list[float]:
        """Loss and accuracy."""
        out = []
        with torch.no_grad():
            nn.utils.vector_to_parameters(theta, self.parameters)
            for x, y in self.splits:
                z = self.model(x)
                out += [F.cross_entropy(z, y).item(), (z.argmax(1) == y).float().mean().item()]
        return out

    def figures(self, theta: Tensor) -> list[float]:
        """Norm, then loss, gradient norm and accuracy."""
        out = [theta.norm().item()]
        nn.utils.vector_to_parameters(theta, self.parameters)
        for x, y in self.splits:
            self.model.zero_grad()
            z = self.model(x)
            loss = F.cross_entropy(z, y)
            loss.backward()
            grad = torch.cat([p.grad.flatten() for p in self.parameters if p.grad is not None])
            out += [loss.item(), grad.norm().item(), (z.argmax(1) == y).float().mean().item()]
        return out


def _spherical(a: Tensor, b: Tensor, t: float) -> Tensor:
    v = (1 - t) * a + t * b
    return v * (((1 - t) * a.norm() + t * b.norm()).abs() / v.norm())


def _at(axes: Axes, u: float, v: float) -> Tensor:
    return axes.origin + u * axes.E[0] + v * axes.E[1]


def _same(ours: Sequence[Sequence[Any]], theirs: Sequence[Sequence[float]]) -> None:
    """Both sides measured the same points."""
    a, b = (torch.tensor(rows, dtype=torch.float64) for rows in (ours, theirs))
    torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


def _of_a_core(way: Callable[[], object]) -> str:
    """Seconds of CPU time, which other programs lengthen less than those of the clock."""
    seconds = []
    for _ in range(BLOCKS // 2):
        began = time.process_time()
        way()
        seconds.append(time.process_time() - began)
    return f"{sorted(seconds)[len(seconds) // 2]:.2f} s of one core"


def _seconds(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began
