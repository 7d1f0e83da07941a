"""A small LeNet (LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998).

Two convolutions of 16 channels, each with ReLU and a max-pooling by 2, then one linear layer: 11,642 parameters for
images of 3 x 32 x 32 in ten classes. From the paper it differs in its widths, in ReLU and max-pooling where that has
sigmoids and a trained subsampling, and in the two linear layers that it leaves out.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from walkers_dist.config.errors import UserError

CHANNELS = 16
CONVOLUTIONS = 2


class LeNet(nn.Module):
    """`image` is [C, H, W]; inputs are [N, C, H, W], or [N, H, W] for one channel.

    Raises `UserError` for images that are smaller than what the convolutions and poolings take away.
    """

    def __init__(self, image: tuple[int, int, int], outputs: int, *, kernel: int, padding: int) -> None:
        super().__init__()
        self.image = image
        channels, height, width = image
        left = [_left(side, kernel, padding) for side in (height, width)]
        if min(left) < 1:
            raise UserError(
                f"landscape.model.name = lenet: images of shape {list(image)} are too small for kernel = {kernel} and "
                f"padding = {padding}; {_what_fits(min(height, width), kernel)}"
            )
        self.conv1 = nn.Conv2d(channels, CHANNELS, kernel, padding=padding)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, kernel, padding=padding)
        self.linear = nn.Linear(CHANNELS * left[0] * left[1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = x.reshape(len(x), *self.image)
        for conv in (self.conv1, self.conv2):
            h = F.max_pool2d(F.relu(conv(h)), 2)
        return self.linear(h.flatten(1))


def _left(side: int, kernel: int, padding: int) -> int:
    """What is left of a side of an image before the linear layer."""
    for _ in range(CONVOLUTIONS):
        side = max(0, side + 2 * padding - kernel + 1) // 2
    return side


def _what_fits(side: int, kernel: int) -> str:
    fitting = next((padding for padding in range(kernel) if _left(side, kernel, padding)), None)
    return f"landscape.model.padding = {fitting} fits" if fitting else "no padding below the kernel fits"
