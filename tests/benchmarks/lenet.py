"""The top of a convolutional network's spectrum: five largest eigenvalues of LeNet, against scipy and libraries."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from extremes import compared, fashion
from peers import Found, Task
from torch import Tensor, nn
from torch.nn import functional as F

from walkers_dist import curvature

TOP, TOL, PAIRS = 5, 1e-4, 3
STEPS = {30: 60, 300: 30}
"""of SGD before, and those that a Lanczos without restarts needs to get the tolerance."""

FEW = 25
"""With the hint that so few will be asked for no linear map is built, which takes as long as 40 products save."""


def lenet() -> Iterator[str]:
    """LeNet on 1,000 images of 3 x 32 x 32, 62,006 parameters, float32, tol 1e-4: others / ours (at least 2)."""
    for steps in STEPS:
        yield from _at(steps)


def _at(steps: int) -> Iterator[str]:
    net, x, y = trained(steps)
    task = Task(net, x, y, TOP, 0, TOL, basis=20, steps=STEPS[steps])
    double = curvature.hessian(trained_double(net), nn.CrossEntropyLoss(), (x.double(), y))
    truth = curvature.extremes(double, TOP, 0, tol=1e-7).eigenvalues
    yield f"after {steps} steps, training loss {float(F.cross_entropy(net(x), y)):.3g}"
    every = {"ours": lambda: ours(task), f"ours, told of {FEW} products": lambda: ours(task, products=FEW)}
    yield from compared(every, task, truth, PAIRS)


def ours(task: Task, **chunks: int) -> Found:
    told: list[int] = []
    H = curvature.hessian(task.net, nn.CrossEntropyLoss(), (task.x, task.y), **chunks)
    found = curvature.extremes(H, TOP, 0, tol=TOL, progress=lambda products, *_: told.append(products))
    assert found.all_converged
    return Found(found.eigenvalues, told[-1])


def trained(steps: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Images of Fashion-MNIST in the middle of 32 x 32, each in a colour of its own."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = made()
    x, y = fashion()
    x = F.pad(x.view(-1, 1, 28, 28), (2, 2, 2, 2)) * torch.rand(len(x), 3, 1, 1, generator=generator)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        chosen = torch.randperm(len(x), generator=generator)[:100]
        optimizer.zero_grad()
        F.cross_entropy(net(x[chosen]), y[chosen]).backward()
        optimizer.step()
    return net, x, y


def trained_double(net: nn.Module) -> nn.Module:
    double = made().double()
    double.load_state_dict(net.state_dict())
    return double


def made() -> nn.Module:
    pooled = nn.ReLU(), nn.MaxPool2d(2)
    dense = nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)
    return nn.Sequential(nn.Conv2d(3, 6, 5), *pooled, nn.Conv2d(6, 16, 5), *pooled, nn.Flatten(), *dense)
