"""A torch module with a loss and data: the second-order products of the loss on the whole data set.

The module is evaluated as it stands when the operator is made, through `functional_call`: its parameters and buffers
are copies, so neither the module nor what it does later matters. Parameters that are not trained are left out, tied
ones count once (H = T^T H_untied T), and those that the loss does not use have zero rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from math import fsum
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.evaluation import evaluated, named
from walkers_dist.curvature.terms import Denominator, Terms, leading, mapped, sliced, tensors, terms_of
from walkers_dist.landscape import products
from walkers_dist.landscape.products import Product
from walkers_dist.landscape.twice import NO_GRADIENT, pull, refuse_once_differentiable, slope

HELD_AT_ONCE, ON_A_CPU = 1 << 28, 1 << 26
"""Bytes that the graph of a chunk may hold where nobody says how many samples it has.

On a CPU 250 images of a LeNet take 120 ms a 1,000 by their graphs, and 1,000 at once 200 ms: they leave its cache.
"""


class Chunk(NamedTuple):
    x: Any
    y: Any


class Objective:
    """loss(model(x), y) over the data as a function of the flat parameters, at those that the model has now.

    `data` is `(x, y)`, or batches of them: a list, a DataLoader, read once and kept. x is a tensor, a tuple (called as
    `model(*x)`) or a dict (`model(**x)`). `chunk` samples are evaluated at a time. `denominator`: see `terms`.
    `share`: (i, n) for the products of share i of n of the samples, or of the batches that came; those of all shares
    add up to the products of the whole.
    Raises UserError, one line, where the loss has no such products.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Callable[..., Tensor],
        data: object,
        *,
        denominator: Denominator | None = None,
        chunk: int | None = None,
        products: int = products.MANY,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.network: nn.Module = getattr(model, "_orig_mod", model)
        trained = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        refuse_parameters(trained)
        self.shapes = {name: p.shape for name, p in trained.items()}
        self.theta = torch.cat([p.detach().reshape(-1) for p in trained.values()])
        self.buffers = {name: b.detach().clone() for name, b in self.network.named_buffers()}
        self.frozen = {n: p.detach().clone() for n, p in self.network.named_parameters() if not p.requires_grad}
        self.size, self.dtype, self.device = self.theta.numel(), self.theta.dtype, self.theta.device
        ends = accumulate(shape.numel() for shape in self.shapes.values())
        self.blocks = {
            name.replace("_orig_mod.", ""): slice(end - shape.numel(), end)
            for (name, shape), end in zip(self.shapes.items(), ends, strict=True)
        }
        self.terms: Terms = terms_of(loss_fn, denominator, self.theta)
        self.products = products
        batches = read(data)
        kinds = {_kind(batch): batch for batch in reversed(batches)}  # of each kind the first one
        example = [self._try(batch) for batch in kinds.values()][-1]
        for batch in batches:
            self.terms.check_classes(example, batch.y)
        self.chunks = self._cut(batches, chunk)
        if len(self.chunks) > 1 and self.terms.denominator is None:
            raise UserError(
                f"the data come in {len(self.chunks)} chunks, and what divides the loss is not known: pass "
                'denominator="samples" for a mean over the leading dimension, "sum", or a function of the targets '
                "(--denominator)"
            )
        self.divisor = 1.0
        if self.terms.denominator and not self.terms.summed:
            self.divisor = fsum(self.terms.denominator(y) for _, y in self.chunks)
            if self.divisor == 0:
                raise UserError("data: no target counts in the loss (all are ignored or weigh nothing)")
        if not any(self._has_gradient(chunk) for chunk in self.chunks):
            raise UserError(f"the loss has no gradient: {NO_GRADIENT}")
        self.share = share
        may_be_cut = self.terms.denominator and (chunk or len(batches) == 1) and all(map(can_be_cut, batches))
        self.mine = shared(self.chunks, *share, may_be_cut=bool(may_be_cut))

    # ---- the function -----------------------------------------------------------------------------------------

    def outputs(self, row: Tensor, chunk: Chunk) -> Any:
        """What the model gives with these parameters, [P]."""
        parts = row.split([shape.numel() for shape in self.shapes.values()])
        state = {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
        state |= self.frozen | {name: b.clone() for name, b in self.buffers.items()}  # a module may write into these
        x = self._here(chunk.x)
        if isinstance(x, dict):
            z = functional_call(self.network, state, (), x)
        else:
            z = functional_call(self.network, state, x if isinstance(x, tuple) else (x,))
        self.terms.check(z, self._here(chunk.y))
        return z

    def _share(self, z: Any, chunk: Chunk) -> Tensor:
        """What the chunk adds to the loss."""
        return self.terms.total(z, self._here(chunk.y)) / self.divisor

    def _here(self, tree: Any) -> Any:
        return mapped(tree, lambda t: t.to(self.device, self.dtype) if t.is_floating_point() else t.to(self.device))

    # ---- products ---------------------------------------------------------------------------------------------

    def hessian(self) -> Product:
        def part(chunk: Chunk, linear: bool) -> Product:
            def f(row: Tensor) -> Tensor:
                return self._share(self.outputs(row, chunk), chunk)

            return products.hessian_product(f, self.theta, linear=linear)

        return self._sum_of(part)

    def gauss_newton(self) -> Product:
        self._one_tensor()

        def part(chunk: Chunk, linear: bool) -> Product:
            def middle(z: Tensor) -> Product:
                return curvature_of(lambda at: self._share(at, chunk), z)

            return products.sandwich_product(lambda row: self.outputs(row, chunk), middle, self.theta, linear=linear)

        return self._sum_of(part)

    def covariance(self, centered: bool) -> Product:
        """N sum_i c_i c_i' with c_i what sample i adds to the gradient of the mean; of a sum, without the N."""
        self._one_tensor()
        if self.terms.denominator is None:
            raise UserError(
                "the gradients of single samples need to know what divides the loss: pass "
                'denominator="samples" for a mean over the leading dimension, "sum", or a function of the targets '
                "(--denominator)"
            )
        N = sum(leading(y) for _, y in self.chunks)
        factor = 1.0 if self.terms.summed else float(N)

        def part(chunk: Chunk, linear: bool) -> Product:
            def each(row: Tensor) -> Tensor:
                return self.terms.each(self.outputs(row, chunk), self._here(chunk.y)) / self.divisor

            return products.sandwich_product(each, lambda _: lambda dz: dz * factor, self.theta, linear=linear)

        moment = self._sum_of(part)
        if not centered or self.share[0]:  # the mean's part is counted once
            return moment
        g = self.gradient()
        return lambda V: moment(V).sub_((V @ g)[:, None] * g, alpha=factor / N)

    def gradient(self) -> Tensor:
        """Of the loss on all the data, [P]."""
        total = torch.zeros_like(self.theta)
        for chunk in self.chunks:
            point = self.theta.clone().requires_grad_(True)
            with evaluated(self.network, self.device), torch.enable_grad(), named(self.network):
                value = self._share(self.outputs(point, chunk), chunk)
                total += torch.autograd.grad(value, point, materialize_grads=True)[0]
        return total

    def _sum_of(self, part_of: Callable[[Chunk, bool], Product]) -> Product:
        """The sum of the chunks' products: prepared once where they fit into memory, else made at every call."""
        if not self.mine:
            return torch.zeros_like
        held = max(self._held(chunk) for chunk in (self.mine[0], self.mine[-1]))
        keep = len(self.mine) == 1 or products.fits(held * len(self.mine), self.device)
        linear = keep and products.linear_pays(self.network, lambda: held, self.device, self.products)

        def make(chunk: Chunk) -> Product:
            with evaluated(self.network, self.device), named(self.network):
                return part_of(chunk, linear)

        prepared = [make(chunk) for chunk in self.mine] if keep else None

        def product(V: Tensor) -> Tensor:
            out = torch.zeros_like(V)
            for part in prepared or map(make, self.mine):
                with named(self.network), torch.autocast(self.device.type, enabled=False):  # also where it is called
                    out += part(V)
            return out

        return product

    def _held(self, chunk: Chunk) -> int:
        with evaluated(self.network, self.device), named(self.network):
            return products.saved_bytes(lambda row: self.outputs(row, chunk), self.theta)

    # ---- the data ---------------------------------------------------------------------------------------------

    def _try(self, batch: Chunk) -> Any:
        """The outputs of a few samples, so that what is wrong is known before anything is prepared.

        All of them for a loss of which nothing is known: it may want the whole batch.
        """
        some = few(batch) if self.terms.denominator else batch
        point = self.theta.clone().requires_grad_(True)
        with evaluated(self.network, self.device), torch.enable_grad(), named(self.network):
            try:
                z, again = self.outputs(point, some), self.outputs(point, some)
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                given = ", ".join(str(list(t.shape)) for t in tensors(some.x))
                raise UserError(f"the model does not accept inputs of shape {given}: {error}") from error
            self.terms.check_classes(z, some.y)
            try:
                value = self.terms.total(z, self._here(some.y))
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                shapes = [", ".join(str(list(t.shape)) for t in tensors(tree)) for tree in (z, some.y)]
                raise UserError(
                    f"outputs of shape {shapes[0]} do not fit targets of shape {shapes[1]}: {error}"
                ) from error
            if value.isnan() and self.terms.total(self.outputs(point, batch), self._here(batch.y)).isnan():
                among = "and so are inputs" if any(t.isnan().any() for t in tensors(batch.x)) else "at these parameters"
                raise UserError(f"the loss is nan on the first batch, {among}: there is no curvature at such a point")
        for one, other in zip(tensors(z), tensors(again), strict=True):
            if not torch.allclose(one, other, rtol=1e-4, atol=1e-6, equal_nan=True):
                raise UserError("two evaluations of the model on the same input differ, also in evaluation mode: "
                                "it is no function of its parameters alone")  # fmt: skip
        refuse_once_differentiable(value)
        return z

    def _has_gradient(self, chunk: Chunk) -> bool:
        point = self.theta.clone().requires_grad_(True)
        some = few(chunk) if self.terms.denominator else chunk
        with evaluated(self.network, self.device), torch.enable_grad():
            return self._share(self.outputs(point, some), some).requires_grad

    def _one_tensor(self) -> None:
        some = few(self.chunks[0])
        with evaluated(self.network, self.device), torch.no_grad():
            z = self.outputs(self.theta, some)
        if not isinstance(z, Tensor):
            raise UserError(f"the model returned {type(z).__name__}: this needs one tensor, a row for each sample")

    def _cut(self, batches: list[Chunk], size: int | None) -> list[Chunk]:
        """Batches as they came, or cut to `size` samples; one whole set to what its graphs may hold."""
        if size is None:
            if len(batches) > 1 or self.terms.denominator is None or not can_be_cut(batches[0]):
                return batches
            some = few(batches[0])
            held = ON_A_CPU if self.device.type == "cpu" else HELD_AT_ONCE
            size = max(1, held * leading(some) // max(1, self._held(some)))
        elif size < 1:
            raise UserError(f"chunk = {size}: at least 1 sample at a time")
        cut = []
        for batch in batches:
            n = leading(batch)
            cut += [sliced(batch, at, min(at + size, n)) for at in range(0, n, size)]
        return [Chunk(*batch) for batch in cut]


def read(data: object) -> list[Chunk]:
    """The batches of the data. Raises UserError where they are none."""
    if isinstance(data, tuple) or (isinstance(data, list) and data and isinstance(data[0], Tensor)):
        batches: list[Any] = [data]
    elif isinstance(data, Iterable) and not isinstance(data, Mapping | Tensor | str):
        with torch.random.fork_rng(devices=[]):  # a DataLoader draws a seed
            batches = list(data)
    else:
        raise UserError(f"data is a {type(data).__name__}: pass (inputs, targets), or batches of them")
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise UserError(f"data: a batch is a pair (inputs, targets), and this one is a {type(batch).__name__}")
    chunks = [
        Chunk(tuple(x) if isinstance(x, list) else dict(x) if isinstance(x, Mapping) else x, y) for x, y in batches
    ]
    chunks = [chunk for chunk in chunks if not any(t.ndim and len(t) == 0 for t in tensors(tuple(chunk)))]
    if not chunks:
        raise UserError("data: there are no samples")
    return chunks


def _kind(batch: Chunk) -> Any:
    """What batches must share for one to be accepted where another is."""
    return can_be_cut(batch), *((t.dtype, t.shape[1:]) for t in tensors(tuple(batch)))


def can_be_cut(batch: Chunk) -> bool:
    """Whether every tensor has one row for each sample."""
    return len({t.shape[:1] for t in tensors(tuple(batch))} | {torch.Size()}) == 2


def shared(chunks: list[Chunk], i: int, n: int, *, may_be_cut: bool) -> list[Chunk]:
    """Share i of n of the samples, or of whole chunks where they may not be cut."""
    if n == 1 or not may_be_cut:
        return chunks[i::n]
    samples = sum(leading(y) for _, y in chunks)
    first, last = samples * i // n, samples * (i + 1) // n
    mine, at = [], 0
    for chunk in chunks:
        start, stop = max(first - at, 0), min(last - at, leading(chunk.y))
        if start < stop:
            mine.append(Chunk(*sliced(tuple(chunk), start, stop)))
        at += leading(chunk.y)
    return mine


def few(batch: Chunk) -> Chunk:
    """The first samples, where it can be told which they are."""
    return Chunk(*sliced(tuple(batch), 0, 8)) if can_be_cut(batch) else batch


def curvature_of(loss: Callable[[Tensor], Tensor], z: Tensor) -> Product:
    """`dz: [1, *z] -> (d2 loss / dz2) dz`."""
    point = z.detach().requires_grad_(True)
    g = slope(loss, point)
    if not g.requires_grad:
        return torch.zeros_like
    return lambda dz: torch.stack([pull(g, point, d) for d in dz])


def refuse_parameters(trained: Mapping[str, Tensor]) -> None:
    """Raise UserError naming a parameter that has no number or no precision for second derivatives."""
    if not trained:
        raise UserError("the model has no parameters to train (requires_grad)")
    (first, like), *_ = trained.items()
    for name, p in trained.items():
        if nn.parameter.is_lazy(p):
            raise UserError(f"parameter {name} has no shape yet: call the model once first")
        if p.is_complex():
            raise UserError(f"parameter {name} is {p.dtype}: all must be real, torch.float32 or torch.float64")
        if p.dtype not in (torch.float32, torch.float64):
            raise UserError(f"parameter {name} is {p.dtype}: convert the model with .float() or .double()")
        if p.dtype != like.dtype or p.device != like.device:
            raise UserError(f"parameter {name} is {p.dtype} on {p.device}, and {first} {like.dtype} on {like.device}: "
                            "all must be the same")  # fmt: skip
        if not p.isfinite().all():
            bad = p.detach()[~p.detach().isfinite()][0].item()
            raise UserError(f"parameter {name} holds {bad}: there is no curvature at such a point")
