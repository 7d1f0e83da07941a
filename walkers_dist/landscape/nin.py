"""Network in network (Lin, Chen, Yan, "Network In Network", 2014, arXiv 1312.4400).

Blocks of a k x k convolution and two 1 x 1 convolutions, a small perceptron that slides over the image, with pooling
between blocks; the last block ends in one map for each class, and the mean of a map is that class's output.

From the paper's network for CIFAR-10 it differs in its widths (192, 160 and 96 there), in one kernel size for all
blocks with padding that keeps the size of the maps, in max-pooling by 2 (3 x 3 by 2 there, an average once), and in
what is left out: dropout, which makes the loss random, and the ReLU after the class maps, so that outputs may be
negative. Weights start with the variance 2 / fan in (He, Zhang, Ren, Sun, 2015): with torch's own smaller default nine
layers pass almost nothing on. Biases start as torch's do, off zero, where a ReLU after nothing but zeros has its kink.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from walkers_dist.config.errors import UserError


class NiN(nn.Module):
    """`image` is [C, H, W]; inputs are [N, C, H, W], or [N, H, W] for one channel. `channels`: a width for each block.

    Raises `UserError` for images that the poolings between the blocks leave nothing of.
    """

    def __init__(self, image: tuple[int, int, int], outputs: int, *, channels: Sequence[int], kernel: int) -> None:
        super().__init__()
        self.image = image
        least = 2 ** (len(channels) - 1)
        if min(image[1:]) < least:
            raise UserError(
                f"landscape.model.name = nin: images of shape {list(image)} are too small for the poolings between "
                f"{len(channels)} blocks, which need {least} x {least}; fewer landscape.model.channels fit"
            )
        into, blocks = image[0], list[nn.Module]()
        for width in channels:
            last = outputs if len(blocks) == len(channels) - 1 else width
            blocks.append(mlpconv(into, width, last, kernel))
            into = width
        self.blocks = nn.ModuleList(blocks)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        h = x.reshape(len(x), *self.image)
        for block in self.blocks[:-1]:
            h = self.pool(block(h).relu())
        return self.blocks[-1](h).mean((2, 3))


def mlpconv(into: int, width: int, out: int, kernel: int) -> nn.Sequential:
    """A convolution and two of 1 x 1, `into` maps to `out`; the last without its ReLU."""
    first = nn.Conv2d(into, width, kernel, padding=kernel // 2)
    second, third = nn.Conv2d(width, width, 1), nn.Conv2d(width, out, 1)
    for conv in (first, second, third):
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
