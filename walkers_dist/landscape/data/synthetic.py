"""Data that are drawn, not collected: Gaussian clusters, and inputs that mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch

from walkers_dist.config.data import ClustersConfig, RandomConfig
from walkers_dist.landscape.data.base import Loaded, Part
from walkers_dist.landscape.streams import stream


def clusters(config: ClustersConfig, seed: int) -> Loaded:
    """Points center + N(0, std^2), the centers in independent uniform directions at `norm`; `x: [N, dim]`.

    Evenly split over the clusters whose class is asked for; a test set has points of its own around the same centers.
    """
    directions = torch.randn(config.clusters, config.dim, generator=stream(seed, "all", "cluster centers"))
    centers = config.norm * directions / directions.norm(dim=1, keepdim=True)
    std = 0.5 / sqrt(config.dim) if config.std is None else config.std
    class_of = torch.tensor(config.classes_of_clusters)
    used = _among(class_of, config.classes).nonzero()[:, 0]

    def part(n: int, split: str) -> Part:
        cluster = used[torch.arange(n) % len(used)]
        noise = torch.randn(n, config.dim, generator=stream(seed, "all", f"cluster points {split}"))
        return Part(centers[cluster] + std * noise, class_of[cluster])

    return Loaded(
        part(config.train_size, "train"),
        part(config.test_size or config.train_size, "test"),
        classes=config.known_classes,
    )


def noise(config: RandomConfig, seed: int) -> Loaded:
    """Inputs from N(0, 1) with uniformly random labels, of the classes asked for; `x: [N, *shape]`."""
    labels = torch.arange(config.label_count)
    labels = labels[_among(labels, config.classes)]

    def part(n: int, split: str) -> Part:
        x = torch.randn(n, *config.shape, generator=stream(seed, "all", f"random inputs {split}"))
        y = labels[torch.randint(len(labels), (n,), generator=stream(seed, "all", f"random labels {split}"))]
        return Part(x, y)

    return Loaded(
        part(config.train_size, "train"),
        part(config.test_size or config.train_size, "test"),
        classes=config.known_classes,
    )


def _among(labels: torch.Tensor, classes: Sequence[int] | None) -> torch.Tensor:
    """Which of the labels are asked for; None asks for all."""
    return torch.ones_like(labels, dtype=torch.bool) if classes is None else torch.isin(labels, torch.tensor(classes))
