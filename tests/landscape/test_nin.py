"""Network in network: its blocks written out with torch's functions, its parameters counted by hand, its training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

import walkers_dist as wd
from walkers_dist.config.errors import UserError
from walkers_dist.landscape.nin import NiN


def test_against_the_blocks_written_out() -> None:
    nin = NiN((2, 9, 8), 4, channels=[3, 5], kernel=3)
    p = [v.detach() for v in nin.parameters()]
    assert [list(v.shape) for v in p[::2]] == [
        [3, 2, 3, 3], [3, 3, 1, 1], [3, 3, 1, 1], [5, 3, 3, 3], [5, 5, 1, 1], [4, 5, 1, 1]
    ]  # fmt: skip
    x = torch.randn(6, 2, 9, 8, generator=torch.Generator().manual_seed(0))
    h = x
    for layer in range(6):
        weight, bias = p[2 * layer], p[2 * layer + 1]
        h = F.conv2d(h, weight, bias, padding=weight.shape[-1] // 2)
        if layer < 5:
            h = h.clamp(min=0)
        if layer == 2:
            h = F.max_pool2d(h, 2)
    torch.testing.assert_close(nin(x), h.flatten(2).sum(2) / (4 * 4))


@pytest.mark.parametrize(
    ("image", "channels"), [((1, 8, 8), (32, 32, 32)), ((3, 32, 32), (192, 160)), ((1, 4, 9), (5,))]
)
def test_parameter_counts(image: tuple[int, int, int], channels: tuple[int, ...]) -> None:
    counted, into = 0, image[0]
    for number, width in enumerate(channels, 1):
        out = 10 if number == len(channels) else width
        counted += width * (into * 5 * 5 + 1) + width * (width + 1) + out * (width + 1)
        into = width
    assert sum(p.numel() for p in NiN(image, 10, channels=channels, kernel=5).parameters()) == counted


def test_it_starts_with_weights_that_pass_something_on() -> None:
    """Variance 2 / fan in: the standard deviation over the samples stays near that of the inputs through all layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        nin = NiN((1, 8, 8), 10, channels=[64, 64, 64], kernel=3)
        x = torch.randn(200, 1, 8, 8)
    weights = [p.detach() for p in nin.parameters() if p.ndim == 4]
    for weight in weights[1:-1]:
        assert weight.var().item() == pytest.approx(2 / weight[0].numel(), rel=0.15)
    assert 0.05 < nin(x).std(0).mean().item() < 1  # 8e-5 with torch's own


def test_images_that_are_too_small() -> None:
    NiN((1, 4, 4), 10, channels=[2, 2, 2], kernel=3)
    says = r"landscape.model.name = nin: images of shape \[1, 8, 3\] .* between 3 blocks, which need 4 x 4"
    with pytest.raises(UserError, match=says):
        NiN((1, 8, 3), 10, channels=[2, 2, 2], kernel=3)


def test_it_trains_on_digits(tmp_path: Any) -> None:
    """E.1, row model: the original names nin and has none."""
    config = {
        "landscape": {"model": {"name": "nin"}},
        "walkers": 2,
        "steps": 90,
        "dynamics": {"lr": 0.02},
        "log": {"every": 90},
        "snapshots": {"every": 90},
    }
    results = wd.run(config, run_dir=tmp_path / "nin", report=False).results.set_index(["step", "walker"])
    for walker in ("w0", "w1", "center"):
        assert results.train_loss[90, walker] < 0.5 * results.train_loss[0, walker]
        assert results.test_accuracy[90, walker] > 0.8
