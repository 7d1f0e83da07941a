"""Matrices that several ranks multiply, by name; the children that a test starts import this too."""

from __future__ import annotations

import functools

import torch
from torch import nn

from walkers_dist import curvature
from walkers_dist.config.load import parse
from walkers_dist.curvature import Operator
from walkers_dist.curvature.operators import Share
from walkers_dist.curvature.shared import Make
from walkers_dist.landscape import Landscape, build

OF = {
    "hessian": curvature.hessian,
    "ggn": curvature.gauss_newton,
    "residual": curvature.residual,
    "covariance": functools.partial(curvature.gradient_covariance, centered=True),
}
DIGITS = {"data": {"name": "digits", "train_size": 101}, "l2": 0.05}
LANDSCAPES = {
    "mlp": DIGITS | {"model": {"name": "mlp", "hidden": [5], "activation": "tanh"}},
    "few": DIGITS | {"data": {"name": "digits", "train_size": 2}, "model": {"name": "mlp", "hidden": [2]}},
    "bowl": {"kind": "quadratic", "dim": 70, "curvature": [float(k) for k in range(70)]},
}


def make(rank: int, fails: int = -1) -> Make:
    torch.set_num_threads(1)
    if rank == fails:
        raise ArithmeticError("has lost its way")
    return matrix


def matrix(name: str, share: Share) -> Operator:
    """`SURFACE MATRIX`, or `SURFACE MATRIX single`; of a surface `lost` one parameter is nan."""
    surface, which, *single = name.split()
    dtype = torch.float32 if single else torch.float64
    of = OF[which]
    if surface in MODULES:
        return of(*MODULES[surface](), share=share)
    landscape = surface_of("mlp" if surface == "lost" else surface, dtype)
    theta = landscape.start("w0")
    if surface == "lost":
        theta[3] = torch.nan
    return of(landscape, theta, share=share)


def surface_of(name: str, dtype: torch.dtype) -> Landscape:
    return build(
        parse({"landscape": LANDSCAPES[name], "dynamics": {"name": "gd"}}, name).landscape, seed=0, dtype=dtype
    )


def weighted(chunk: int | None = None) -> tuple[nn.Module, nn.Module, object]:
    """37 samples in classes of unlike weight, some ignored."""
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(10, 9), nn.Tanh(), nn.Linear(9, 4)).double()
    x = torch.randn(37, 10, generator=random, dtype=torch.float64)
    y = torch.randint(0, 4, (37,), generator=random)
    y[::5] = -100
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2, 3.0], dtype=torch.float64))
    return model, loss, (x, y) if chunk is None else list(zip(x.split(chunk), y.split(chunk), strict=True))


def tiny() -> tuple[nn.Module, nn.Module, object]:
    """Two parameters and two samples: fewer than three ranks."""
    model = nn.Linear(1, 1).double()
    nn.init.constant_(model.weight, 0.5)
    x = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    return model, nn.MSELoss(), (x, x.cos())


MODULES = {"weighted": weighted, "batches": lambda: weighted(8), "tiny": tiny}
