"""A loss taken apart: what it sums, and what it divides that sum by.

A mean over all the data is not the mean of the means of its chunks where chunks count differently: classes have
weights, targets are ignored. So a chunk gives the sum of its terms, and all of them together are divided by the loss's
own denominator. `torch.nn`'s losses are known, as modules and as functions; a user's own comes with its denominator.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from walkers_dist.config.errors import UserError

Denominator = Literal["samples", "sum"] | Callable[[Any], float | Tensor]
"""Of a user's loss: a mean over the leading dimension, a sum, or a function of the targets."""


@dataclass(frozen=True)
class Terms:
    """loss(all data) = sum over chunks of `total(z, y)`, divided by that of `denominator(y)` unless `summed`.

    `each(z, y)`: [B], the samples' terms, which add up to the total. `check(z, y)` raises UserError where the shapes of
    outputs and targets do not fit, `check_classes(z, y)` where there is no output for a target: that looks at numbers,
    which a function that is traced must not do. `denominator` None: not known, so there can be but one chunk and no
    `each`.
    """

    total: Callable[[Tensor, Any], Tensor]
    each: Callable[[Tensor, Any], Tensor]
    denominator: Callable[[Any], float] | None
    summed: bool
    check: Callable[[Any, Any], None]
    check_classes: Callable[[Any, Any], None]


def _elements(loss: nn.Module, y: Tensor) -> float:
    return y.numel()


def _samples(loss: nn.Module, y: Tensor) -> float:
    return len(y)


def _classes(loss: Any, y: Tensor) -> float:
    """Sum of the weights of the targets that are not ignored; probabilities count once for each place."""
    if y.is_floating_point():
        return y.numel() // y.shape[1]
    counted = y[y != loss.ignore_index]
    return counted.numel() if loss.weight is None else loss.weight.double()[counted.to(loss.weight.device)].sum().item()


def _divergence(loss: Any, y: Tensor) -> float:
    return len(y) if loss.reduction == "batchmean" else y.numel()


DENOMINATORS: dict[type[nn.Module], Callable[[Any, Tensor], float]] = {
    nn.CrossEntropyLoss: _classes,
    nn.NLLLoss: _classes,
    nn.KLDivLoss: _divergence,
    nn.MSELoss: _elements,
    nn.L1Loss: _elements,
    nn.SmoothL1Loss: _elements,
    nn.HuberLoss: _elements,
    nn.BCELoss: _elements,
    nn.BCEWithLogitsLoss: _elements,
    nn.PoissonNLLLoss: _elements,
    nn.SoftMarginLoss: _elements,
    nn.HingeEmbeddingLoss: _elements,
    nn.MultiLabelSoftMarginLoss: _samples,
    nn.MultiLabelMarginLoss: _samples,
    nn.MultiMarginLoss: _samples,
}
BY_CLASS = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
FUNCTIONS: dict[Callable[..., Tensor], type[nn.Module]] = {
    F.cross_entropy: nn.CrossEntropyLoss,
    F.nll_loss: nn.NLLLoss,
    F.kl_div: nn.KLDivLoss,
    F.mse_loss: nn.MSELoss,
    F.l1_loss: nn.L1Loss,
    F.smooth_l1_loss: nn.SmoothL1Loss,
    F.huber_loss: nn.HuberLoss,
    F.binary_cross_entropy: nn.BCELoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
}


def terms_of(loss_fn: Callable[..., Tensor], denominator: Denominator | None, like: Tensor) -> Terms:
    """The parts of a loss, its own tensors on the device of `like` (and in its dtype, where the loss is a module)."""
    if isinstance(loss_fn, type) or not callable(loss_fn):
        given = f"the class {loss_fn.__name__}" if isinstance(loss_fn, type) else f"a {type(loss_fn).__name__}"
        raise UserError(f"the loss is {given}: pass one of torch's, as CrossEntropyLoss(), or a function of your own")
    loss = _as_module(loss_fn)
    if _kind(loss):
        if denominator is not None:
            raise UserError(f"denominator = {denominator}: {_name(loss_fn)} has its own; it is for losses of your own")
        return _known(loss, like)
    if isinstance(loss, nn.Module):
        loss = copy.deepcopy(loss).to(like.device, like.dtype)
    return _users(loss, denominator)


def _as_module(loss_fn: Callable[..., Tensor]) -> Any:
    if loss_fn in FUNCTIONS:
        return FUNCTIONS[loss_fn]()
    if isinstance(loss_fn, partial) and loss_fn.func in FUNCTIONS and not loss_fn.args:
        return FUNCTIONS[loss_fn.func](**loss_fn.keywords)
    return loss_fn


def _kind(loss: Any) -> Any:
    """Which of torch's losses it computes: also a class of the user's that only sets the arguments of one."""
    own = type(loss)
    return next((known for known in own.__mro__ if known in DENOMINATORS and own.forward is known.forward), None)


def _known(given: Any, like: Tensor) -> Terms:
    name = type(given).__name__
    if given.reduction == "none":
        raise UserError(f"{name}(reduction='none') gives no number; use mean or sum")
    loss = copy.deepcopy(given).to(like.device, like.dtype)

    def reduced(how: str) -> Callable[[Tensor, Any], Tensor]:
        other = copy.copy(loss)
        other.reduction = how
        return other

    none = reduced("none")

    def each(z: Tensor, y: Any) -> Tensor:
        terms = none(z, y)
        return terms.flatten(1).sum(1) if terms.ndim > 1 else terms

    by_class = isinstance(loss, BY_CLASS)

    def check(z: Any, y: Any) -> None:
        for what, given in (("outputs", z), ("targets", y)):
            if not isinstance(given, Tensor):
                raise UserError(f"{name} takes tensors, and the {what} are a {type(given).__name__}")
        if not by_class:
            _fits_elements(loss, z, y)

    return Terms(
        total=reduced("sum"),
        each=each,
        denominator=partial(DENOMINATORS[_kind(loss)], loss),
        summed=loss.reduction == "sum",
        check=check,
        check_classes=partial(_fits_classes, loss) if by_class else _nothing,
    )


def _nothing(z: Any, y: Any) -> None:
    """There is nothing to check."""


def _fits_elements(loss: nn.Module, z: Tensor, y: Tensor) -> None:
    if isinstance(loss, nn.MultiLabelMarginLoss):
        return
    if z.shape != y.shape:
        raise UserError(
            f"{type(loss).__name__}: outputs of shape {list(z.shape)} do not fit targets of shape {list(y.shape)}, "
            "which torch would broadcast; give both the same shape"
        )


def _fits_classes(loss: Any, z: Tensor, y: Tensor) -> None:
    if y.is_floating_point() or z.ndim < 2:
        return
    counted = y[y != getattr(loss, "ignore_index", -1)]
    if counted.numel() and not (counted.min() >= 0 and counted.max() < z.shape[1]):
        raise UserError(
            f"{type(loss).__name__}: class {int(counted.max() if counted.min() >= 0 else counted.min())} among the "
            f"targets, and the model has {z.shape[1]} outputs"
        )


def _users(loss: Callable[..., Tensor], denominator: Denominator | None) -> Terms:
    def value(z: Tensor, y: Any) -> Tensor:
        found = loss(z, y)
        if not isinstance(found, Tensor) or found.numel() != 1:
            kind = f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise UserError(f"the loss {_name(loss)} must return one number as a tensor, and returned {kind}")
        return found.reshape(())

    if denominator in (None, "sum"):
        summed = denominator == "sum"
        unit = (lambda y: 1.0) if summed else None
        return Terms(value, _rows_of(value), unit, summed, _nothing, _nothing)
    if not (denominator == "samples" or callable(denominator)):
        raise UserError(f'denominator = {denominator}: allowed are "samples", "sum" and a function of the targets')

    def size(y: Any) -> float:
        return float(denominator(y)) if callable(denominator) else leading(y)

    def total(z: Tensor, y: Any) -> Tensor:
        return value(z, y) * size(y)

    return Terms(total, _rows_of(total), size, False, _nothing, _nothing)


def _rows_of(total: Callable[[Tensor, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    """The total of every sample alone, [B]."""

    def each(z: Tensor, y: Any) -> Tensor:
        return torch.stack([total(z[i : i + 1], sliced(y, i, i + 1)) for i in range(len(z))])

    return each


def tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors in nested dicts, tuples and lists."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from tensors(value)
    elif isinstance(tree, tuple | list):
        for value in tree:
            yield from tensors(value)


def mapped(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same nest with every tensor changed."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: mapped(value, change) for key, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(mapped(value, change) for value in tree)
    if isinstance(tree, list):
        return [mapped(value, change) for value in tree]
    return tree


def sliced(tree: Any, start: int, stop: int) -> Any:
    """Samples start to stop of everything."""
    return mapped(tree, lambda t: t[start:stop])


def leading(tree: Any) -> int:
    """How many samples there are. Raises UserError where the tensors do not agree."""
    lengths = {len(t) if t.ndim else None for t in tensors(tree)}
    if len(lengths) != 1 or None in lengths:
        shapes = ", ".join(str(list(t.shape)) for t in tensors(tree)) or "none"
        raise UserError(f"data: every tensor of a batch needs one row for each sample; their shapes are {shapes}")
    (n,) = lengths
    assert n is not None
    return n


def _name(loss: object) -> str:
    return getattr(loss, "__name__", type(loss).__name__)
