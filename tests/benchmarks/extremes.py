"""Both ends of a spectrum: ten largest and five smallest eigenvalues of the default network, and how others fare."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import torch
from blocks import Blocks
from peers import Found, Task, Way, by_eigsh, ways
from torch import Tensor, nn

from walkers_dist import curvature
from walkers_dist.config.load import parse
from walkers_dist.curvature import Operator
from walkers_dist.landscape import build
from walkers_dist.landscape.network import Network

TOP, BOTTOM, TOL = 10, 5, 1e-4
STEPS = 30, 100, 300
"""of SGD before: the longer it is trained, the closer are the lowest eigenvalues, and the more products all need."""
PAIRS = 5
MLP = {"model": {"name": "mlp", "hidden": [100, 100]}}
DATA = {"fashion_mnist": {"train_size": 1000}, "made_up:load": {}}
"""Pixels, and random numbers with labels that can be learnt by heart."""


def extremes() -> Iterator[str]:
    """784-100-100-10, 1,000 inputs, float32, tol 1e-4: others / ours (at least 3, at most 130 products)."""
    for data in DATA:
        for steps in STEPS:
            yield from _at(data, steps)


def _at(data: str, steps: int) -> Iterator[str]:
    landscape, theta = trained(data, steps)
    double = curvature.hessian(_built(data, torch.float64), theta.double())
    truth = curvature.extremes(double, TOP, BOTTOM, tol=1e-9).eigenvalues
    net = landscape.module(theta).requires_grad_(True)
    x, y = landscape.inputs["train"], landscape.targets["train"].argmax(1)
    task = Task(net, x, y, TOP, BOTTOM, TOL, basis=60, steps=120)
    H = curvature.hessian(landscape, theta)
    ours = {
        "ours": lambda: _ours(curvature.hessian(landscape, theta)),
        "ours, generic module": lambda: _ours(curvature.hessian(net, nn.CrossEntropyLoss(), (x, y))),
        "eigsh, our products": by_eigsh(task, lambda v: H(v[None])[0]),
    }
    yield f"{data} after {steps} steps, training loss {float(landscape.loss(theta[None])):.3g}"
    yield from compared(ours, task, truth, PAIRS)
    one = _floor(task)
    yield f"  floor: {1e3 * one:.2f} ms a product; ours takes {_seconds(ours['ours']) / one:.0f} of them"


def _floor(task: Task) -> float:
    """CPU seconds of the matrix products in one Hessian product, at the speed of large square ones."""
    A = torch.randn(1024, 1024)
    gemm = min(_seconds(lambda: A @ A) for _ in range(20)) / (2 * 1024**3)
    first, *others = [m.weight.numel() for m in task.net.modules() if isinstance(m, nn.Linear)]
    return gemm * 2 * len(task.x) * (2 * first + 6 * sum(others))


def _seconds(way: Callable[[], object]) -> float:
    began = time.process_time()
    way()
    return time.process_time() - began


def compared(ours: Mapping[str, Way], task: Task, truth: Tensor, rounds: int) -> Iterator[str]:
    """All ways in turn, in CPU seconds; ratios to the first of ours, and to the generic module if there is one."""
    every = {**ours, **ways(task)}
    seconds: dict[str, list[float]] = {name: [] for name in every}
    for turn in range(rounds):
        for name, way in every.items():
            began = time.process_time()
            found = way()
            seconds[name].append(time.process_time() - began)
            if turn == 0:
                error = float((found.eigenvalues.double() - truth).abs().max() / truth.abs().max())
                yield f"  {name}: {found.products} products, {seconds[name][0]:.2f} s, error {error:.1e} of the largest"
    for base in [name for name in ours if name.startswith("ours")]:
        for name in every:
            if name != base:
                blocks = Blocks(seconds[base], seconds[name])
                yield f"  {name} / {base}: {blocks.faster()}"


def trained(data: str, steps: int) -> tuple[Network, Tensor]:
    """The network and its parameters after steps of 100 samples."""
    landscape = _built(data, torch.float32)
    theta = landscape.start("w0")[None]
    gradient = landscape.minibatches(["w0"], 100)
    for t in range(steps):
        theta -= 0.1 * gradient(theta, t)
    return landscape, theta[0]


def fashion() -> tuple[Tensor, Tensor]:
    """1,000 pictures of Fashion-MNIST [1000, 784], and their classes."""
    landscape = _built("fashion_mnist", torch.float32)
    return landscape.inputs["train"].flatten(1), landscape.targets["train"].argmax(1)


def _built(data: str, dtype: torch.dtype) -> Network:
    config = parse({"landscape": {"data": {"name": data, **DATA[data]}, **MLP}}, "w2").landscape
    landscape = build(config, seed=0, dtype=dtype)
    assert isinstance(landscape, Network)
    return landscape


def _ours(H: Operator) -> Found:
    told: list[int] = []
    found = curvature.extremes(H, TOP, BOTTOM, tol=TOL, progress=lambda products, *_: told.append(products))
    assert found.all_converged
    return Found(found.eigenvalues, told[-1])
