"""Second-order products of any function of flat parameters, by automatic differentiation.

A product comes from a retained graph, or from `torch.func.linearize`, the linear map with all that it needs of the
point computed in advance. Measured on one core of a CPU, in float32, milliseconds a product (graph / linear map / graph
built anew): MLP of 3,190 parameters 0.72 / 0.75 / 1.5, of 89,610 5.7 / 5.9 / 11, LeNet of 25,010 on 250 images
60 / 39 / 108. The linear map costs 0.2 to 2 s to build, and after some modules (LSTM) it fails or is wrong: so it is
for convolutions, and checked.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import grad, linearize

from walkers_dist.landscape.memory import total_memory
from walkers_dist.landscape.twice import differentiated, pull, refuse_once_differentiable, slope

Product = Callable[[Tensor], Tensor]
"""`V: [C, P] -> A V: [C, P]`, row by row."""

MANY = 100
"""Products that an operator is made for where nobody says how many: about what both ends of a spectrum take."""
LINEAR_PAYS = 2e9
"""Bytes held times products from which the linear map pays: 75 products of that LeNet, which holds 26 MB."""
GRAPHS = 3
"""A graph that can be differentiated again holds about this many times what the forward pass saves."""

AGREES = {torch.float32: 1e-3, torch.float64: 1e-8}
"""How far, relatively, two right ways to the same product may be apart."""
SHARE = 0.25
"""Of the memory that there is, what the retained graphs of a data set may hold."""


def hessian_product(f: Callable[[Tensor], Tensor], theta: Tensor, *, linear: bool = False) -> Product:
    """The Hessian of `f: [P] -> []` at `theta: [P]`; by its linear map if `linear` and where there is a right one."""
    by_graph = _hessian_by_graph(f, theta)
    if linear and (push := _linear_map(grad(f), theta, lambda v: by_graph(v[None])[0])):
        return lambda V: torch.stack([push(v) for v in V])
    return by_graph


def _hessian_by_graph(f: Callable[[Tensor], Tensor], theta: Tensor) -> Product:
    point = theta.detach().clone().requires_grad_(True)
    g = slope(f, point)
    if not g.requires_grad:  # it is linear in the parameters, or uses none of them
        return torch.zeros_like
    return lambda V: torch.stack([pull(g, point, v) for v in V])


def sandwich_product(
    f: Callable[[Tensor], Tensor],
    middle: Callable[[Tensor], Product],
    theta: Tensor,
    *,
    linear: bool = False,
) -> Product:
    """J^T M J with J the Jacobian of `z = f(theta)`, any shape, and `middle(z)` the product of M with dz: [1, *z]."""
    point = theta.detach().clone().requires_grad_(True)
    with torch.enable_grad(), differentiated():
        z = f(point)
        if not z.requires_grad:
            return torch.zeros_like
        refuse_once_differentiable(z)  # J v is the second derivative of u^T z
        push = _pushed_through(z, point)
        push = (linear and _linear_map(f, theta, push)) or push
    M = middle(z.detach())
    return lambda V: torch.stack([pull(z, point, M(push(v)[None])[0]) for v in V])


def saved_bytes(f: Callable[[Tensor], Tensor], theta: Tensor) -> int:
    """Roughly what the retained graph of a product at this point holds, from what one forward pass saves."""
    sizes: dict[int, int] = {}
    own = theta.untyped_storage().data_ptr()  # weights, held once whatever the number of samples

    def note(saved: Tensor) -> Tensor:
        storage, place = saved.untyped_storage(), saved.data_ptr()
        if storage.data_ptr() != own:  # a view of some samples does not hold them all; an expanded one holds less
            sizes[place] = max(sizes.get(place, 0), min(saved.nbytes, storage.nbytes()))
        return saved.detach()

    point = theta.detach().requires_grad_(True)
    with torch.enable_grad(), saved_tensors_hooks(note, lambda saved: saved):
        f(point)
    return GRAPHS * sum(sizes.values())


def fits(held: int, device: torch.device) -> bool:
    """Whether prepared products that hold so many bytes may be kept; else each is made anew at every call."""
    return held <= SHARE * total_memory(device)


def made(product: Product) -> Callable[[], Product]:
    """A product that exists already, in the place of one that would be made."""
    return lambda: product


def linear_pays(network: nn.Module, held: Callable[[], int], device: torch.device, products: int = MANY) -> bool:
    """Whether the linear map saves more time over so many products than it takes to build."""
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in network.modules())
    return convolves and device.type == "cpu" and held() * products > LINEAR_PAYS


def _pushed_through(z: Tensor, point: Tensor) -> Product:
    """v -> J v without forward mode: J^T u is linear in u, and its transpose is J."""
    u = torch.zeros_like(z, requires_grad=True)
    (g,) = torch.autograd.grad(z, point, u, create_graph=True)
    return lambda v: pull(g, u, v)


def _linear_map(f: Callable[[Tensor], Tensor], theta: Tensor, known: Product) -> Product | None:
    """v -> (df / dtheta) v, or None where forward mode lacks an operation of f, or where the map is wrong.

    Wrong without a word it is from its second call on, by 24 % after an LSTM, where its trace works in place on numbers
    that it has computed in advance. So its second call is compared with the product that is `known`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer's, about its own nodes
            push = linearize(f, theta.detach())[1]
            first, second = torch.randn(2, *theta.shape, generator=torch.Generator().manual_seed(0)).to(theta)
            push(first)
            difference, size = push(second), known(second)
    except (RuntimeError, NotImplementedError):
        return None
    difference = difference - size
    return push if difference.norm() <= AGREES[theta.dtype] * size.norm() else None
