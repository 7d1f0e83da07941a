"""Clusters and random inputs: the laws that they promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from walkers_dist.config.data import ClustersConfig, RandomConfig
from walkers_dist.landscape.data import Data
from walkers_dist.landscape.data.prepare import prepare


def clusters(seed: int = 0, **keys: Any) -> Data:
    return prepare(ClustersConfig.model_validate(keys), seed)


def means(x: Tensor, label: Tensor) -> Tensor:
    return torch.stack([x[label == c].mean(0) for c in label.unique()])


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_d6_clusters(k: int) -> None:
    """k centers at norm 2 in 20 dimensions, 1000 points evenly split, deviation 0.5 / sqrt(20)."""
    data = clusters(clusters=k, train_size=1000, test_size=400)
    assert data.x_train.shape == (1000, 20) and data.x_test.shape == (400, 20) and data.classes == k
    for split, n in (("train", 1000), ("test", 400)):
        x, y = data.split(split)
        assert y.bincount().max() - y.bincount().min() <= 1 and len(y.bincount()) == k
        around = x - means(x, y)[y]
        assert around.std().item() == pytest.approx(0.5 / 20**0.5, rel=5 / (2 * 20 * n) ** 0.5 + 5e-3)
    centers = means(data.x_train, data.y_train)
    torch.testing.assert_close(centers.norm(dim=1), torch.full((k,), 2.0), rtol=0, atol=0.03)
    torch.testing.assert_close(means(data.x_test, data.y_test), centers, rtol=0, atol=0.1)  # the same for both parts
    assert not torch.equal(data.x_train[:400], data.x_test)


def test_directions_are_uniform() -> None:
    """Of 3,000 independent directions in 3 dimensions each coordinate is uniform in [-1, 1] (Archimedes)."""
    points = torch.cat([clusters(s, clusters=100, dim=3, norm=1.0, std=0.0, train_size=100).x_train for s in range(30)])
    torch.testing.assert_close(points.norm(dim=1), torch.ones(3000), rtol=0, atol=1e-6)
    counts = torch.stack([torch.histc(points[:, i], 10, -1, 1) for i in range(3)])
    assert (counts - 300).abs().max() < 5 * 300**0.5


def test_d7_two_labels_on_many_clusters() -> None:
    keys = {"clusters": 8, "norm": 4.0, "std": 0.1}
    own, two = clusters(**keys), clusters(**keys, class_of=[0, 1] * 4)
    assert torch.equal(own.x_train, two.x_train) and two.classes == 2
    assert torch.equal(two.y_train, own.y_train % 2) and own.y_train.unique().tolist() == list(range(8))


def test_classes_of_clusters() -> None:
    """As many samples as asked for, of the clusters of these classes alone, around the same centers."""
    keys = {"clusters": 4, "class_of": [0, 1, 2, 1], "std": 0.0, "train_size": 90}
    whole, some = clusters(**keys), clusters(**keys, classes=[2, 1])
    assert some.x_train.shape == (90, 20) and some.classes == 2
    for x, label in zip(some.x_train, some.y_train.tolist(), strict=True):
        assert (whole.y_train[(whole.x_train == x).all(1)] == [2, 1][label]).all()
    assert some.y_train.bincount().tolist() == [30, 60]  # one cluster of class 2, two of class 1


def test_random_inputs() -> None:
    data = prepare(RandomConfig(shape=(2, 3, 4), label_count=7, train_size=7000, test_size=70), 0)
    assert data.x_train.shape == (7000, 2, 3, 4) and data.x_test.shape == (70, 2, 3, 4) and data.classes == 7
    assert abs(data.x_train.mean()) < 5 / 168000**0.5 and abs(data.x_train.var() - 1) < 5 * (2 / 168000) ** 0.5
    assert (data.y_train.bincount(minlength=7) - 1000).abs().max() < 5 * 1000**0.5
    shifted = means(data.x_train.flatten(1), data.y_train)
    assert shifted.abs().max() < 5 / 900**0.5  # labels say nothing about inputs
    some = prepare(RandomConfig(label_count=7, classes=(6, 2), train_size=50), 0)
    assert some.x_train.shape == (50, 1, 8, 8) and set(some.y_train.tolist()) == {0, 1}


@pytest.mark.parametrize("make", [clusters, lambda seed=0: prepare(RandomConfig(), seed)])
def test_data_belong_to_the_seed(make: Any) -> None:
    one, same, other = make(seed=0), make(seed=0), make(seed=1)
    assert torch.equal(one.x_train, same.x_train) and torch.equal(one.y_test, same.y_test)
    assert not torch.equal(one.x_train, other.x_train)
    assert len(one.x_test) == len(one.x_train) == 1000  # the test part is as large where nothing is said
