"""The data of README.md's configuration: two noisy moons."""

import torch


def load(seed: int, noise: float):
    generator = torch.Generator().manual_seed(seed)
    angle = torch.rand(1000, generator=generator) * torch.pi
    y = torch.arange(1000) % 2
    x = torch.stack([angle.cos() + y, angle.sin() * (1 - 2 * y) + 0.5 * y], dim=1)
    x += noise * torch.randn(x.shape, generator=generator)
    return x[:800], y[:800], x[800:], y[800:]
