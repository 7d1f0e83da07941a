"""Random data of MNIST's shape, for `landscape.data.name: made_up:load`."""

from __future__ import annotations

import torch
from torch import Tensor


def load(seed: int, inputs: int = 784, train_size: int = 1000, test_size: int = 500) -> tuple[Tensor, ...]:
    """Normal inputs [N, inputs], and as label which of the first ten is the largest."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(train_size + test_size, inputs, generator=generator)
    y = x[:, :10].argmax(1)
    return x[:train_size], y[:train_size], x[train_size:], y[train_size:]
