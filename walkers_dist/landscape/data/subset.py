"""Fewer samples: of some classes, and so many, picked at random without replacement."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from walkers_dist.config.data import check_classes
from walkers_dist.config.errors import UserError
from walkers_dist.landscape.data.base import Part
from walkers_dist.landscape.streams import stream


def of_classes(part: Part, classes: Sequence[int], there_are: int) -> Part:
    """The samples with these labels, which are counted from 0 in the order given."""
    check_classes(tuple(classes), there_are)
    number = torch.full((there_are,), -1)
    number[list(classes)] = torch.arange(len(classes))
    renumbered = number[part.y.long()]
    which = (renumbered >= 0).nonzero()[:, 0]
    kept = part.chosen(which)
    return Part(kept.raw, renumbered[which], kept.rows, kept.pixels)


def of_size(part: Part, split: str, size: int | None, classes: Sequence[int] | None, seed: int) -> Part:
    """So many samples; all of them stay as they are."""
    n = at_most(f"{split}_size", size, len(part), classes)
    return part if n == len(part) else part.chosen(_picked(len(part), n, split, seed))


def _picked(there_are: int, n: int, split: str, seed: int) -> Tensor:
    return torch.randperm(there_are, generator=stream(seed, "all", f"subset {split}"))[:n]


def at_most(key: str, asked: int | None, there_are: int, classes: Sequence[int] | None = None) -> int:
    """How many samples `landscape.data.KEY` stands for; None is all there are. Raises UserError."""
    of = f" of the classes {list(classes)}" if classes is not None else ""
    if there_are < 1:
        raise UserError(f"landscape.data.{key}: there are no samples{of}")
    if asked is not None and asked > there_are:
        raise UserError(f"landscape.data.{key} = {asked}: at most {there_are} samples{of} can be had")
    return there_are if asked is None else asked
