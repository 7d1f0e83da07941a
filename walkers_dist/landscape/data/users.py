"""A data set of the user's own: whatever their function returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.landscape.users import users_own

Tensors = tuple[Tensor, Tensor, Tensor, Tensor]


def from_user(function: Callable[..., object], name: str, seed: int, args: Mapping[str, object]) -> Tensors:
    """`x_train, y_train, x_test, y_test` of a user's `function(seed=…, **args)`.

    It returns four arrays or tensors, or a train and a test Dataset. Raises UserError.
    """
    where = f"landscape.data.name = {name}"
    with users_own(where):
        got = function(seed=seed, **args)
        parts = tuple(got) if isinstance(got, tuple | list) else ()
        if len(parts) == 2:
            parts = (*_stack(parts[0], where), *_stack(parts[1], where))
        if len(parts) != 4:
            raise UserError(f"{where}: it must return x_train, y_train, x_test, y_test or two Datasets")
        x_train, y_train, x_test, y_test = (torch.as_tensor(part) for part in parts)
    for split, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
            counts = [len(v) if v.ndim else "one number as" for v in (x, y)]
            raise UserError(f"{where}: {counts[0]} {split} inputs and {counts[1]} {split} targets")
    for what, train, test in (("inputs", x_train, x_test), ("targets", y_train, y_test)):
        if train.shape[1:] != test.shape[1:] or train.is_floating_point() != test.is_floating_point():
            kinds = [f"{str(v.dtype).removeprefix('torch.')} of shape {list(v.shape)}" for v in (train, test)]
            raise UserError(f"{where}: train {what} are {kinds[0]}, test {what} are {kinds[1]}")
    return x_train, y_train, x_test, y_test


def _stack(dataset: object, where: str) -> tuple[Tensor, Tensor]:
    """All samples of a map-style Dataset as two tensors."""
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise UserError(f"{where}: a Dataset needs __len__ and __getitem__")
    samples = [dataset[i] for i in range(len(dataset))]
    if not samples:
        raise UserError(f"{where}: a Dataset is empty")
    x, y = zip(*samples, strict=True)
    return torch.stack([torch.as_tensor(v) for v in x]), torch.stack([torch.as_tensor(v) for v in y])
