"""scikit-learn's digits: 1,797 images of 8 x 8 pixels (Alpaydin and Kaynak, 1998)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from walkers_dist.config.data import DIGITS_TRAIN, DigitsConfig
from walkers_dist.config.errors import UserError
from walkers_dist.landscape.data.base import Loaded, Part
from walkers_dist.landscape.data.subset import at_most
from walkers_dist.landscape.streams import stream


def load(config: DigitsConfig, seed: int) -> Loaded:
    """Images [N, 1, 8, 8] with pixels 0 to 16; a seeded random split, since there is no official one.

    The training part is the shortest beginning of a random order that holds `train_size` samples of the classes
    asked for, and the test part is what follows: as far as `test_size` samples of them, or all.
    """
    x, y = read()
    order = torch.randperm(len(x), generator=stream(seed, "all", "split"))
    middle, last = _ends(y[order], config)
    first, rest = order[:middle], order[middle:last]
    return Loaded(Part(x[first], y[first]), Part(x[rest], y[rest]), classes=10)


def _ends(y: Tensor, config: DigitsConfig) -> tuple[int, int]:
    """How many of the ordered samples are before the end of the training part, and before that of the test part."""
    if config.classes is None:
        asked = torch.ones(len(y))
    elif config.corruption == "double":  # makes new labels, and which they are is not known yet
        return DIGITS_TRAIN, len(y)
    else:
        asked = torch.isin(y, torch.tensor(config.classes))
    ends = asked.nonzero()[:, 0] + 1  # where one more sample of these classes has been seen
    train = at_most("train_size", config.train_size, len(ends) - (config.test_size or 1), config.classes)
    test = at_most("test_size", config.test_size, len(ends) - train, config.classes)
    return int(ends[train - 1]), len(y) if config.test_size is None else int(ends[train + test - 1])


def read() -> tuple[Tensor, Tensor]:
    """All images and labels, from the csv that scikit-learn ships, without importing scikit-learn."""
    spec = importlib.util.find_spec("sklearn")
    origin = Path(spec.origin).parent if spec and spec.origin else Path()
    file = origin / "datasets" / "data" / "digits.csv.gz"
    if not file.exists():
        raise UserError("landscape.data.name = digits: scikit-learn, which ships the digits, is not installed")
    table = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.float32))
    return table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1].long()
