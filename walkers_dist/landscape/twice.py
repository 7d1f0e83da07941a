"""What stands in the way of derivatives, and of second ones, said in one line that names it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from walkers_dist.config.errors import UserError

NO_GRADIENT = "nothing that can be differentiated leads to it from the parameters (detach, no_grad, argmax?)"


@contextmanager
def differentiated() -> Iterator[None]:
    """Turn torch's errors about what has no derivative into a UserError that names it."""
    try:
        yield
    except RuntimeError as error:
        said = str(error)
        if missing := re.search(r"derivative (?:for|of) '?([\w:.]+)'? is not implemented", said):
            raise UserError(f"the loss is not twice differentiable: {missing[1]} has no second derivative") from error
        if "does not require grad and does not have a grad_fn" in said:
            raise UserError(f"the loss has no gradient: {NO_GRADIENT}") from error
        raise


def slope(f: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    """df / dpoint of `f: point -> []`, with its graph, to be differentiated again; zeros where f is constant."""
    with torch.enable_grad(), differentiated():
        value = f(point)
        if not value.requires_grad:
            return torch.zeros_like(point)
        refuse_once_differentiable(value)
        return torch.autograd.grad(value, point, create_graph=True)[0]


def pull(z: Tensor, point: Tensor, dz: Tensor) -> Tensor:
    """(dz / dpoint)^T dz from the retained graph of z, zero where it does not depend on the point."""
    with differentiated():
        return torch.autograd.grad(z, point, dz, retain_graph=True, materialize_grads=True)[0]


def refuse_once_differentiable(value: Tensor) -> None:
    """Raise UserError naming a custom function marked `once_differentiable`, which autograd may take for a constant."""
    ahead, seen = [value.grad_fn], set()
    while ahead:
        if (node := ahead.pop()) is None or node in seen:
            continue
        seen.add(node)
        made_by = getattr(node, "_forward_cls", None)
        if isinstance(node, BackwardCFunction) and hasattr(made_by.backward, "__wrapped__"):
            raise UserError(
                f"the loss is not twice differentiable: {made_by.__name__} is a custom function marked "
                "once_differentiable"
            )
        ahead += [following for following, _ in node.next_functions]
