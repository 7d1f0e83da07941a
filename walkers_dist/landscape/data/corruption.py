"""Corruptions of a data set, as elementary-walkers has them; test data keep their inputs and labels but in `double`."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from walkers_dist.config.data import SomeNoise
from walkers_dist.config.errors import UserError
from walkers_dist.landscape.data.base import Part
from walkers_dist.landscape.streams import stream


def double(part: Part, split: str, classes: int, seed: int) -> Part:
    """Each image beside another of the same part, picked at random; the label is (d1 + d2) mod `classes`."""
    N = len(part)
    ahead = torch.randint(1, max(N, 2), (N,), generator=stream(seed, "all", f"double {split}"))
    first = torch.arange(N)
    second = (first + ahead) % N
    return replace(part, y=(part.y[first].long() + part.y[second].long()) % classes, rows=(first, second))


def scrambled(part: Part, seed: int) -> Part:
    """Labels permuted among the samples."""
    return replace(part, y=part.y[torch.randperm(len(part), generator=stream(seed, "all", "scrambled"))])


def all_noise(x: Tensor, seed: int) -> Tensor:
    """Inputs from N(0, 1), nothing of the images is left."""
    return _noise(x, stream(seed, "all", "all_noise"))


def some_noise(x: Tensor, rows: int, columns: int, seed: int) -> Tensor:
    """Images [N, (C,) H, W] with N(0, 1) in so many random rows and columns, which are the same in all of them."""
    H, W = x.shape[-2:]
    generator = stream(seed, "all", "some_noise")
    noisy = torch.zeros(H, W, dtype=torch.bool)
    noisy[torch.randperm(H, generator=generator)[:rows]] = True
    noisy[:, torch.randperm(W, generator=generator)[:columns]] = True
    return torch.where(noisy, _noise(x, generator), x)


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, generator=generator)


def check(corruption: str | SomeNoise, part: Part, classes: int | None) -> None:
    """Raise UserError where this data set cannot be corrupted so."""
    name = corruption if isinstance(corruption, str) else corruption.name
    where = f"landscape.data.corruption = {name}"
    shape = f"[{', '.join(['N', *map(str, part.raw.shape[1:])])}]"
    if name in ("double", "all_noise", "some_noise") and not part.real:
        kind = str(part.raw.dtype).removeprefix("torch.")
        raise UserError(f"{where}: inputs must be real numbers, and are whole numbers ({kind})")
    if name == "double" and classes is None:
        raise UserError(f"{where}: needs class labels [N], and the targets are none")
    if name == "double" and part.raw.ndim < 2:
        raise UserError(f"{where}: inputs of shape {shape} have no side by side")
    if isinstance(corruption, SomeNoise):
        if part.raw.ndim not in (3, 4):
            raise UserError(f"{where}: needs images [N, H, W] or [N, C, H, W], and inputs are {shape}")
        for key, asked, there_are in zip(
            ("rows", "columns"), (corruption.rows, corruption.columns), part.raw.shape[-2:], strict=True
        ):
            if asked > there_are:
                raise UserError(f"landscape.data.corruption.{key} = {asked}: images of shape {shape} have {there_are}")
