"""Whole spectra: digits 64-30-30-10 (3,190 parameters) and Fashion-MNIST 784-12-12-10 (9,706), float64."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from blocks import Blocks
from memory import resident
from torch import Tensor
from torch.nn import functional as F

from walkers_dist import curvature
from walkers_dist.config.load import parse
from walkers_dist.curvature.full import matrix
from walkers_dist.distributed import devices
from walkers_dist.landscape import build
from walkers_dist.landscape.network import Network

DIGITS = {"data": {"name": "digits", "train_size": 1000}, "model": {"name": "mlp", "hidden": [30, 30]}}
FASHION = {"data": {"name": "fashion_mnist", "train_size": 1000}, "model": {"name": "mlp", "hidden": [12, 12]}}
PAIRS = 5
PAIRS_OF_LONG_ONES = 3
STEPS = 300


def spectrum() -> Iterator[str]:
    """The whole job / eigvalsh alone (at most 1.3); torch.func.hessian / ours (at least 8), memory (at most 0.1);
    on 784 inputs chunked products / dense assembly (at least 4)."""
    devices.set_up_process(threads=1)
    yield from _digits()
    yield from _memory()
    yield from _fashion()


def _digits() -> Iterator[str]:
    landscape, theta = trained(DIGITS)
    A = matrix(curvature.hessian(landscape, theta))
    whole, assembled, by_autograd = Blocks(), Blocks(), Blocks()
    for pair in range(PAIRS):
        values, alone = _timed(lambda: torch.linalg.eigvalsh(A))
        found, ours = _timed(lambda: _ours(landscape, theta))
        _, assembly = _timed(lambda: matrix(curvature.hessian(landscape, theta)))
        whole.add(ours, alone)
        assembled.add(assembly + alone, alone)
        if pair < PAIRS_OF_LONG_ONES:
            expected, theirs = _timed(lambda: _by_autograd(landscape, theta))
            by_autograd.add(ours, theirs)
    top = values.abs().max()
    yield f"digits: eigvalsh alone {alone:.2f} s, assembly {assembly:.2f} s, the whole job {ours:.2f} s"
    yield f"largest difference from eigvalsh of autograd's matrix {(found - expected).abs().max() / top:.1e} of the top"
    yield f"the whole job / eigvalsh alone: {whole}"
    yield f"… without compression of the inputs: {assembled}"
    yield f"torch.func.hessian and eigvalsh / the whole job: {by_autograd.faster()}"


def _memory() -> Iterator[str]:
    peaks = {}
    for way in ("ours", "torch.func.hessian"):
        with multiprocessing.get_context("spawn").Pool(1) as child:
            peaks[way] = child.apply(peak, (way,))
    figures = ", ".join(f"{way} {size / 1e6:.0f} MB" for way, size in peaks.items())
    yield f"peak memory beyond the loaded program: {figures}; ratio {peaks['ours'] / peaks['torch.func.hessian']:.3f}"


def peak(way: str) -> int:
    """Bytes that a process needs for the spectrum at most, beyond what it has when it begins."""
    devices.set_up_process(threads=1)
    landscape, theta = trained(DIGITS)
    before, _ = resident()
    (_ours if way == "ours" else _by_autograd)(landscape, theta)
    return resident()[1] - before


def _fashion() -> Iterator[str]:
    landscape, theta = trained(FASHION)
    H = curvature.hessian(landscape, theta)
    products = curvature.Operator(H.product, H.size, H.dtype, H.device)
    blocks = Blocks()
    for _ in range(PAIRS_OF_LONG_ONES):
        A, ours = _timed(lambda: matrix(H))
        B, theirs = _timed(lambda: matrix(products))
        blocks.add(ours, theirs)
    error = (A - B).norm() / B.norm()
    yield f"Fashion-MNIST: assembly {ours:.1f} s, products {theirs:.1f} s, relative difference {error:.1e}"
    yield f"chunked products / assembly: {blocks.faster()}"


def trained(config: dict[str, Any]) -> tuple[Network, Tensor]:
    """The network after some steps in float32, for a landscape in float64."""
    chosen = parse({"landscape": config}, "spectrum").landscape
    single, double = (build(chosen, seed=0, dtype=dtype) for dtype in ("float32", "float64"))
    assert isinstance(double, Network)
    theta = single.start("w0")[None]
    gradient = single.minibatches(["w0"], 100)
    for t in range(STEPS):
        theta -= 0.1 * gradient(theta, t)
    return double, theta[0].double()


def _ours(landscape: Network, theta: Tensor) -> Tensor:
    return curvature.spectrum(curvature.hessian(landscape, theta)).eigenvalues


def _by_autograd(landscape: Network, theta: Tensor) -> Tensor:
    """The spectrum as a person writes it: torch.func.hessian of the loss as a function of flat parameters."""
    net = landscape.module(theta)
    shapes = {name: p.shape for name, p in net.named_parameters()}
    x, y = landscape.inputs["train"], landscape.targets["train"]

    def loss(row: Tensor) -> Tensor:
        parts = row.split([shape.numel() for shape in shapes.values()])
        state = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return F.cross_entropy(torch.func.functional_call(net, state, (x,)), y)

    return torch.linalg.eigvalsh(torch.func.hessian(loss)(theta))


def _timed(way: Callable[[], Tensor]) -> tuple[Tensor, float]:
    began = time.perf_counter()
    found = way()
    return found, time.perf_counter() - began
