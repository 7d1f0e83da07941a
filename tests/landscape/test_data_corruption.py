"""Corruptions: the law that each promises, and what it leaves alone. Rows of the specification in the names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from walkers_dist.config.data import DigitsConfig, FashionMNISTConfig, RandomConfig
from walkers_dist.landscape.data import Data
from walkers_dist.landscape.data.base import Part
from walkers_dist.landscape.data.corruption import double
from walkers_dist.landscape.data.prepare import prepare


def digits(corruption: Any, seed: int = 0, **keys: Any) -> Data:
    return prepare(DigitsConfig.model_validate({"corruption": corruption, **keys}), seed)


def images(corruption: Any, **keys: Any) -> Data:
    """As large as MNIST's, with pixels that all differ."""
    keys = {"shape": [1, 28, 28], "train_size": 60, "corruption": corruption, **keys}
    return prepare(RandomConfig.model_validate(keys), 0)


def is_normal(x: Tensor) -> bool:
    """Mean 0, variance 1, kurtosis 3, each to 5 standard errors."""
    n, x = x.numel(), x.double()
    errors = (x.mean() * n**0.5, (x.square().mean() - 1) * (n / 2) ** 0.5, (x**4).mean().sub(3) * (n / 96) ** 0.5)
    return all(abs(error) < 5 for error in errors)


def same_test_part(one: Data, other: Data) -> bool:
    return torch.equal(one.x_test, other.x_test) and torch.equal(one.y_test, other.y_test)


# ---- double (E.4: the original takes training labels by the test part's index list, which is too long: it stops) -----


@pytest.mark.parametrize("split", ["train", "test"])
def test_e4_f32_double_label_is_the_sum_mod_10(split: str) -> None:
    (x, y), (pairs, sums) = (digits(how).split(split) for how in ("none", "double"))
    assert pairs.shape == (*x.shape[:-1], 16) and len(sums) == len(y)
    label_of = {tuple(image.flatten().tolist()): int(label) for image, label in zip(x, y, strict=True)}
    seconds = []
    for i, (pair, label) in enumerate(zip(pairs, sums.tolist(), strict=True)):
        left, right = pair[..., :8], pair[..., 8:]
        assert torch.equal(left, x[i])
        d1, d2 = label_of[tuple(left.flatten().tolist())], label_of[tuple(right.flatten().tolist())]  # of this part
        assert label == (d1 + d2) % 10
        assert not torch.equal(left, right)  # another image
        seconds.append(d2)
    assert min(map(seconds.count, range(10))) > len(y) / 20  # partners of every class


def test_double_counts_the_classes_there_are() -> None:
    x, y = torch.arange(12.0).view(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    done = double(Part(x, y), "train", 3, seed=0)
    for pair, label in zip(done.inputs().tolist(), done.y.tolist(), strict=True):
        assert label == (y[int(pair[0] / 2)] + y[int(pair[2] / 2)]) % 3
    lonely = double(Part(x[:1], y[1:2]), "test", 3, seed=0)  # a part of one image has no other
    assert lonely.inputs().tolist() == [[0, 1, 0, 1]] and lonely.y.tolist() == [2]


def test_double_comes_before_classes_and_sizes() -> None:
    whole = digits("double")
    some = digits("double", classes=[7, 2], train_size=100, test_size=None)
    assert some.x_train.shape == (100, 1, 8, 16)
    kept = {
        tuple(pair.flatten().tolist()): int(label) for pair, label in zip(whole.x_train, whole.y_train, strict=True)
    }
    for pair, label in zip(some.x_train, some.y_train.tolist(), strict=True):
        assert kept[tuple(pair.flatten().tolist())] == [7, 2][label]
    assert len(some.y_test) == int(torch.isin(whole.y_test, torch.tensor([7, 2])).sum())


# ---- scrambled -------------------------------------------------------------------------------------------------------


def test_e4_f32_scrambled_keeps_the_histogram_and_the_test_part() -> None:
    clean, done = digits("none"), digits("scrambled")
    assert torch.equal(clean.x_train, done.x_train) and same_test_part(clean, done)
    assert torch.equal(clean.y_train.bincount(), done.y_train.bincount())
    agree = (clean.y_train == done.y_train).float().mean()
    assert 0.06 < agree < 0.14  # by chance: 0.1, with a standard error of 0.01


def test_scrambled_keeps_the_size_of_some_classes() -> None:
    done = digits("scrambled", classes=[1, 4], train_size=150)
    assert done.y_train.shape == (150,) and set(done.y_train.tolist()) == {0, 1}


# ---- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", ["train", None])
def test_e4_f32_all_noise_keeps_labels_and_the_test_part(normalize: str | None) -> None:
    clean, done = (digits(how, normalize=normalize) for how in ("none", "all_noise"))
    assert torch.equal(clean.y_train, done.y_train) and same_test_part(clean, done)
    assert done.x_train.shape == clean.x_train.shape and is_normal(done.x_train)
    assert len(done.x_train.flatten().unique()) > 60_000  # every pixel of every image its own


def lines(changed: Tensor) -> tuple[list[int], list[int]]:
    """Rows and columns [H, W] that are changed from one end to the other."""
    return changed.all(1).nonzero()[:, 0].tolist(), changed.all(0).nonzero()[:, 0].tolist()


def test_e4_f32_some_noise_is_exactly_seven_rows_and_seven_columns() -> None:
    clean, done = images("none"), images("some_noise")
    assert torch.equal(clean.y_train, done.y_train) and same_test_part(clean, done)
    changed = (clean.x_train != done.x_train)[:, 0]
    assert (changed == changed[0]).all()  # the same lines in all images
    rows, columns = lines(changed[0])
    assert (len(rows), len(columns)) == (7, 7)
    assert int(changed[0].sum()) == 28 * 28 - 21 * 21  # and nothing else
    noise = done.x_train[changed[:, None]].view(60, -1)
    assert is_normal(noise) and len(noise.unique()) > 20_000  # fresh in every image


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (2, 0), (28, 1)])
def test_some_noise_takes_its_parameters(rows: int, columns: int) -> None:
    clean, done = (images(how) for how in ("none", {"name": "some_noise", "rows": rows, "columns": columns}))
    assert int((clean.x_train != done.x_train)[0].sum()) == 28 * 28 - (28 - rows) * (28 - columns)


def test_some_noise_in_all_channels() -> None:
    clean, done = (images(how, shape=[3, 9, 8]) for how in ("none", "some_noise"))
    changed = clean.x_train != done.x_train
    assert (changed == changed[0, 0]).all() and int(changed[0, 0].sum()) == 9 * 8 - 2 * 1


def test_some_noise_of_another_seed_lies_elsewhere() -> None:
    def where(seed: int) -> Tensor:
        clean, done = (digits(how, seed) for how in ("none", {"name": "some_noise", "rows": 3, "columns": 3}))
        return (clean.x_train != done.x_train)[0]

    assert torch.equal(where(0), where(0)) and not torch.equal(where(0), where(1))


# ---- together --------------------------------------------------------------------------------------------------------


def test_e4_double_with_soft_labels() -> None:
    """The original corrupts labels that are soft already, and adds probabilities."""
    hard, soft = digits("double"), digits("double", labels={"p": 0.91, "q": 0.01})
    assert torch.equal(hard.x_train, soft.x_train)
    expected = torch.full((1000, 10), 0.01, dtype=torch.float64)
    for i, label in enumerate(hard.y_train.tolist()):
        expected[i, label] = 0.91
    assert torch.equal(soft.y_train, expected)
    assert soft.y_test.tolist() == [[float(c == label) for c in range(10)] for label in hard.y_test.tolist()]


def test_e1_a_corruption_for_any_data_set(fashion: None) -> None:
    """The original loads cifar10 after the corruption, and stops."""
    for corruption in ("double", "scrambled", "all_noise", "some_noise"):
        keys = {"corruption": corruption, "train_size": 50, "test_size": 20}
        data = prepare(FashionMNISTConfig.model_validate(keys), 0)
        width = 56 if corruption == "double" else 28
        assert data.x_train.shape == (50, 1, 28, width) and data.x_test.shape[0] == 20
