"""Data sets: tensors of a training and a test part, held on the device."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.landscape.streams import stream
from walkers_dist.landscape.users import users_own


@dataclass(frozen=True)
class Data:
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        return (self.x_train, self.y_train) if name == "train" else (self.x_test, self.y_test)


def digits(*, seed: int, train_size: int | None, test_size: int | None) -> Data:
    """scikit-learn's 1,797 bundled images of 8 x 8 pixels (Alpaydin and Kaynak, 1998), a seeded random split.

    Reads the csv that scikit-learn ships without importing scikit-learn. `x: [N, 64]`, `y: [N]` in 0..9.
    """
    spec = importlib.util.find_spec("sklearn")
    origin = Path(spec.origin).parent if spec and spec.origin else Path()
    file = origin / "datasets" / "data" / "digits.csv.gz"
    if not file.exists():
        raise UserError("landscape.data.name = digits: scikit-learn, which ships the digits, is not installed")
    table = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.float32))
    x, y = table[:, :-1], table[:, -1].long()
    order = torch.randperm(len(x), generator=stream(seed, "all", "split"))
    train = _size("landscape.data.train_size", train_size, len(x) - (test_size or 1))
    test = _size("landscape.data.test_size", test_size, len(x) - train)
    first, rest = order[:train], order[train : train + test]
    return Data(x[first], y[first], x[rest], y[rest])


def _size(key: str, asked: int | None, there_are: int) -> int:
    if asked is not None and asked > there_are:
        raise UserError(f"{key} = {asked}: at most {there_are} samples can be had")
    return there_are if asked is None else asked


def from_user(function: Callable[..., object], name: str, seed: int, args: Mapping[str, object]) -> Data:
    """What a user's `function(seed=…, **args)` returns: four arrays or tensors, or a train and a test Dataset."""
    where = f"landscape.data.name = {name}"
    with users_own(where):
        got = function(seed=seed, **args)
        parts = tuple(got) if isinstance(got, tuple | list) else ()
        if len(parts) == 2:
            parts = (*_stack(parts[0], where), *_stack(parts[1], where))
        if len(parts) != 4:
            raise UserError(f"{where}: it must return x_train, y_train, x_test, y_test or two Datasets")
        data = Data(*(torch.as_tensor(part) for part in parts))
    for split in ("train", "test"):
        x, y = data.split(split)
        if len(x) != len(y) or len(x) == 0:
            raise UserError(f"{where}: {len(x)} {split} inputs and {len(y)} {split} targets")
    for what, train, test in (("inputs", data.x_train, data.x_test), ("targets", data.y_train, data.y_test)):
        if train.shape[1:] != test.shape[1:] or train.is_floating_point() != test.is_floating_point():
            kinds = [f"{str(v.dtype).removeprefix('torch.')} of shape {list(v.shape)}" for v in (train, test)]
            raise UserError(f"{where}: train {what} are {kinds[0]}, test {what} are {kinds[1]}")
    return data


def _stack(dataset: object, where: str) -> tuple[Tensor, Tensor]:
    """All samples of a map-style Dataset as two tensors."""
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise UserError(f"{where}: a Dataset needs __len__ and __getitem__")
    samples = [dataset[i] for i in range(len(dataset))]
    if not samples:
        raise UserError(f"{where}: a Dataset is empty")
    x, y = zip(*samples, strict=True)
    return torch.stack([torch.as_tensor(v) for v in x]), torch.stack([torch.as_tensor(v) for v in y])


def normalized(data: Data, how: str) -> Data:
    """One mean and standard deviation for all inputs: of the training part, or of each part its own (`split`).

    Inputs that are integers (tokens) stay what they are.
    """
    if not data.x_train.is_floating_point():
        return data
    mean, std = data.x_train.mean(), data.x_train.std(correction=0)
    if not std > 0:
        raise UserError(f"landscape.data.normalize = {how}: the inputs are all alike, or not finite; null leaves them")
    own = (data.x_test.mean(), data.x_test.std(correction=0)) if how == "split" else (mean, std)
    return replace(data, x_train=(data.x_train - mean) / std, x_test=(data.x_test - own[0]) / own[1])


def on(data: Data, dtype: torch.dtype, device: torch.device) -> Data:
    """The data on a device; inputs and targets that are real numbers in the landscape's precision."""

    def place(v: Tensor) -> Tensor:
        return v.to(device, dtype if v.is_floating_point() else None).contiguous()

    return Data(*(place(v) for v in (data.x_train, data.y_train, data.x_test, data.y_test)))
