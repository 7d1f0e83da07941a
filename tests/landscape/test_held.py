"""What the retained graph of a product is said to hold."""

from __future__ import annotations

import torch

from walkers_dist.landscape.products import GRAPHS, saved_bytes

ROW = 1000 * 4  # bytes of a sample


def test_a_view_of_some_samples_holds_those_alone() -> None:
    data = torch.ones(500, 1000)
    theta = torch.ones(1000)
    for samples in (1, 20, 500):
        x = data[:samples]
        held = saved_bytes(lambda row, x=x: (x @ row.view(1000, 1)).sin().sum(), theta)
        assert held == GRAPHS * samples * (ROW + 4)  # x, and what the sine is taken of


def test_an_expanded_sample_is_held_once() -> None:
    x, theta = torch.ones(1, 1000).expand(50, 1000), torch.ones(1000)
    assert saved_bytes(lambda row: (x * row).sum(), theta) == GRAPHS * ROW
