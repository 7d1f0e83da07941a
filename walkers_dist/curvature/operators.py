"""Symmetric matrices that are known by their products: the Hessian of a loss, its two parts, and the gradients' spread.

    H = G + R,   G = J^T (d2 loss / dz2) J,   R = sum over outputs of (d loss / dz) (d2 z / dtheta2)

with z the outputs of the network and J = dz / dtheta. The penalty l2 / 2 |theta|^2 of a landscape has its second
derivative, l2 times the identity, in H and in G; so R vanishes with the loss's slope at the outputs.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

import torch
from torch import Tensor, nn

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.dense import assembled
from walkers_dist.curvature.modules import Objective
from walkers_dist.curvature.terms import Denominator
from walkers_dist.landscape.base import Landscape

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

Loss = Callable[..., Tensor]
Share = tuple[int, int]


class Chunks(TypedDict, total=False):
    """How a module's data set is summed over, all by keyword.

    `denominator`: what divides a loss of your own: "samples" (a mean over the leading dimension), "sum" or a function
    of the targets; torch's losses have theirs. `chunk`: samples evaluated at a time. `products`: how many will be asked
    for, about; a hint that decides what is prepared. `share`: (i, n) for what share i of n of the samples adds to the
    matrix, of a landscape too (see `shared`).
    """

    denominator: Denominator
    chunk: int
    products: int
    share: Share


@dataclass(frozen=True)
class Operator:
    """A symmetric matrix [size, size] that is called: rows `V: [C, size]` -> rows `(A v): [C, size]`.

    `dense` gives the matrix [size, size] faster than products do, exactly symmetric; `blocks` says where each named
    parameter lies in [size]. The same directions give the same bits.
    """

    product: Callable[[Tensor], Tensor]
    size: int
    dtype: torch.dtype
    device: torch.device
    dense: Callable[[], Tensor] | None = None
    blocks: Mapping[str, slice] | None = None

    def __call__(self, V: Tensor) -> Tensor:
        if V.ndim != 2 or V.shape[1] != self.size:
            raise UserError(f"directions of shape {list(V.shape)}: must be rows [C, {self.size}]")
        return self.product(V)

    def block(self, name: str) -> Operator:
        """The diagonal block of a parameter, or of all the parameters of a module, by name. UserError if unknown."""
        places = {key: at for key, at in (self.blocks or {}).items() if key == name or key.startswith(f"{name}.")}
        if not places:
            raise UserError(_unknown(name, list(self.blocks or {})))
        index = torch.cat([torch.arange(at.start, at.stop, device=self.device) for at in places.values()])
        relative, at = {}, 0
        for key, place in places.items():
            relative[key] = slice(at, at := at + place.stop - place.start)
        dense = self.dense

        def product(V: Tensor) -> Tensor:
            whole = V.new_zeros(len(V), self.size)
            whole[:, index] = V
            return self.product(whole)[:, index]

        return Operator(
            product,
            len(index),
            self.dtype,
            self.device,
            (lambda: dense()[index][:, index]) if dense else None,
            relative,
        )

    def linear_operator(self) -> LinearOperator:
        """The same for scipy: one vector [size] or columns [size, C], numbers on the CPU."""
        import numpy as np
        from scipy.sparse.linalg import LinearOperator

        def columns(V: Any) -> Any:
            V = np.array(V, order="C")  # torch takes no reversed or read-only array
            rows = torch.as_tensor(V, dtype=self.dtype, device=self.device).reshape(self.size, -1).T.contiguous()
            return self.product(rows).T.cpu().numpy().reshape(V.shape)

        kind = torch.empty(0, dtype=self.dtype).numpy().dtype
        return LinearOperator(
            (self.size, self.size), matvec=columns, rmatvec=columns, matmat=columns, rmatmat=columns, dtype=kind
        )


def hessian(model: Landscape | nn.Module, at: Tensor | Loss, data: object = None, **chunks: Unpack[Chunks]) -> Operator:
    """H, the second derivatives of the training loss of `(landscape, theta: [P])`, or of `(model, loss_fn, data)`.

    A landscape's is in its dtype and on its device. A module's is that of its parameters as they are now, in the order
    of `model.parameters()`: dropout and batch norm in evaluation mode, the module left as it is; for data and losses
    see `modules.Objective` and `Chunks`. What can be prepared once for the point is prepared here.
    UserError where theta is no point of the landscape, or the loss has no second derivatives.
    """
    if isinstance(model, nn.Module):
        objective = Objective(model, cast(Loss, at), data, **chunks)
        return _of(objective, objective.hessian())
    model, theta = _point(model, cast(Tensor, at), data, chunks)
    return _at(model, theta, model.hvp_at, assembled(model, theta, "hessian"))


def gauss_newton(
    model: Landscape | nn.Module, at: Tensor | Loss, data: object = None, **chunks: Unpack[Chunks]
) -> Operator:
    """G = J^T (d2 loss / dz2) J, as `hessian`: positive semidefinite where the loss is convex in the outputs z."""
    if isinstance(model, nn.Module):
        objective = Objective(model, cast(Loss, at), data, **chunks)
        return _of(objective, objective.gauss_newton())
    model, theta = _point(model, cast(Tensor, at), data, chunks)
    return _at(model, theta, model.gauss_newton_at, assembled(model, theta, "gauss_newton"))


def residual(
    model: Landscape | nn.Module, at: Tensor | Loss, data: object = None, **chunks: Unpack[Chunks]
) -> Operator:
    """R = H - G, as `hessian`: what the curvature of the network itself adds; zero where it is linear."""
    if isinstance(model, nn.Module):
        objective = Objective(model, cast(Loss, at), data, **chunks)
        H, G = objective.hessian(), objective.gauss_newton()
        return _of(objective, lambda V: H(V).sub_(G(V)))
    model, theta = _point(model, cast(Tensor, at), data, chunks)

    def prepared(point: Tensor) -> Callable[[Tensor], Tensor]:
        H, G = model.hvp_at(point), model.gauss_newton_at(point)
        return lambda V: H(V).sub_(G(V))

    return _at(model, theta, prepared, assembled(model, theta, "residual"))


def gradient_covariance(
    model: Landscape | nn.Module,
    at: Tensor | Loss,
    data: object = None,
    *,
    centered: bool = False,
    **chunks: Unpack[Chunks],
) -> Operator:
    """(1/N) sum_i g_i g_i^T over the samples' gradients, as `hessian`: their second moment about zero.

    `centered` takes g g^T off, g the gradient of the whole loss: their covariance. g_i is N times what sample i adds to
    g, so that g is their mean; of a loss that is a sum it is what i adds, and the 1/N is left out: N times as much.
    """
    if isinstance(model, nn.Module):
        objective = Objective(model, cast(Loss, at), data, **chunks)
        return _of(objective, objective.covariance(centered))
    model, theta = _point(model, cast(Tensor, at), data, chunks)
    return _at(model, theta, lambda point: model.covariance_at(point, centered=centered), None)


def _of(objective: Objective, product: Callable[[Tensor], Tensor]) -> Operator:
    return Operator(product, objective.size, objective.dtype, objective.device, None, objective.blocks)


def _at(
    landscape: Landscape,
    theta: Tensor,
    prepare: Callable[[Tensor], Callable[[Tensor], Tensor]],
    dense: Callable[[], Tensor] | None,
) -> Operator:
    if not theta.isfinite().all():  # said when it is used: a diverged walker must not stop those after it
        prepare, dense = (lambda _: lambda V: _refuse_point(landscape, theta)), None
    return Operator(prepare(theta), landscape.size, landscape.dtype, landscape.device, dense, landscape.blocks)


def _point(landscape: Landscape, theta: Tensor, data: object, chunks: Chunks) -> tuple[Landscape, Tensor]:
    if not isinstance(landscape, Landscape):
        raise UserError(f"a {type(landscape).__name__} has no curvature: pass a Landscape or a torch.nn.Module")
    share = chunks.pop("share", (0, 1))
    if given := ["data"] * (data is not None) + list(chunks):
        raise UserError(f"{given[0]}: only for a torch module; a landscape has its data, and takes its own chunks")
    if not isinstance(theta, Tensor) or theta.shape != (landscape.size,):
        has = f"has shape {list(theta.shape)}" if isinstance(theta, Tensor) else f"is a {type(theta).__name__}"
        raise UserError(f"theta {has}: a point of this landscape is [{landscape.size}]")
    if not theta.is_floating_point():
        raise UserError(f"theta is {theta.dtype}: a point has real numbers, torch.float32 or torch.float64")
    theta = theta.detach().to(landscape.device, landscape.dtype)
    return (landscape if share == (0, 1) else landscape.share(*share)), theta


def _refuse_point(landscape: Landscape, theta: Tensor) -> Tensor:
    i = int((~theta.isfinite()).nonzero()[0, 0])
    names = [name for name, at in (landscape.blocks or {}).items() if at.start <= i < at.stop]
    where = f"parameter {names[0]}" if names else f"entry {i} of theta"
    raise UserError(f"{where} holds {theta[i].item()}: there is no curvature at such a point")


def _unknown(name: str, known: list[str]) -> str:
    if not known:
        return f"block {name}: this operator has no named blocks"
    modules = {key.rpartition(".")[0] for key in known} - {""}
    near = difflib.get_close_matches(name, [*known, *modules], n=1)
    return f"block {name}: there is none of this name" + (
        f"; did you mean {near[0]}?" if near else f": {', '.join(known)}"
    )
