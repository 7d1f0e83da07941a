"""LeNet: the numbers of parameters that are printed for it, and torch's own layers as the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from walkers_dist.config.errors import UserError
from walkers_dist.landscape.lenet import LeNet
from walkers_dist.landscape.mlp import MLP


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts() -> None:
    """F 33: nn 784-100-100-10 has 89,610 parameters and lenet on 3 x 32 x 32 has 11,642."""
    perceptron = MLP([784, 100, 100, 10])
    assert perceptron.size == 89_610 == count(perceptron.module(torch.zeros(89_610)))
    assert count(LeNet((3, 32, 32), 10, kernel=5, padding=0)) == 11_642


@pytest.mark.parametrize(
    ("image", "kernel", "padding", "left"),
    [((3, 32, 32), 5, 0, 5 * 5), ((1, 28, 28), 5, 0, 4 * 4), ((1, 8, 8), 5, 2, 2 * 2), ((1, 28, 56), 5, 0, 4 * 11),
     ((2, 7, 9), 2, 1, 2 * 3), ((1, 16, 16), 5, 0, 1)],
)  # fmt: skip
def test_it_adapts_to_the_image(image: tuple[int, int, int], kernel: int, padding: int, left: int) -> None:
    """E.1, row model: the original's lenet is for 3 x 32 x 32 alone."""
    lenet = LeNet(image, 7, kernel=kernel, padding=padding)
    plain = nn.Sequential(
        nn.Conv2d(image[0], 16, kernel, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, kernel, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * left, 7),
    )  # fmt: skip
    plain.load_state_dict(dict(zip(plain.state_dict(), lenet.state_dict().values(), strict=True)))
    x = torch.randn(5, *image, generator=torch.Generator().manual_seed(0))
    assert torch.equal(lenet(x), plain(x))
    assert [*lenet.state_dict()] == [f"{layer}.{part}" for layer in ("conv1", "conv2", "linear")
                                     for part in ("weight", "bias")]  # fmt: skip


@pytest.mark.parametrize(
    ("image", "kernel", "padding", "says"),
    [
        ((1, 8, 8), 5, 0, r"shape \[1, 8, 8\] are too small for kernel = 5 and padding = 0; .*padding = 2 fits"),
        ((1, 8, 8), 5, 1, r"padding = 1; landscape.model.padding = 2 fits"),
        ((3, 32, 15), 5, 0, r"shape \[3, 32, 15\] are too small .*padding = 1 fits"),
        ((1, 3, 3), 1, 0, "no padding below the kernel fits"),
    ],
)
def test_images_that_are_too_small(image: tuple[int, int, int], kernel: int, padding: int, says: str) -> None:
    with pytest.raises(UserError, match=f"landscape.model.name = lenet: images of .*{says}"):
        LeNet(image, 10, kernel=kernel, padding=padding)
    fits = says.rpartition("padding = ")[2].removesuffix(" fits")
    if fits.isdigit():  # what it proposes does fit, and is the least that does
        LeNet(image, 10, kernel=kernel, padding=int(fits))
        with pytest.raises(UserError):
            LeNet(image, 10, kernel=kernel, padding=int(fits) - 1)
