"""Data: the digits as scikit-learn reads them, and whatever a user's function returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from walkers_dist.config.data import DigitsConfig
from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import NetworkConfig
from walkers_dist.landscape import build, stream
from walkers_dist.landscape.data import Data
from walkers_dist.landscape.data.digits import read
from walkers_dist.landscape.data.prepare import prepare
from walkers_dist.landscape.network import Network


def digits(seed: int = 0, **keys: Any) -> Data:
    return prepare(DigitsConfig.model_validate({"normalize": None, **keys}), seed)


def as_set(x: Tensor, y: Tensor) -> list[tuple[Any, ...]]:
    pixels = x.flatten(1).tolist()
    return sorted((*map(int, image), int(label)) for image, label in zip(pixels, y.tolist(), strict=True))


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    data = digits()
    assert (data.x_train.shape, data.x_test.shape) == ((1000, 1, 8, 8), (797, 1, 8, 8))
    assert (data.x_train.dtype, data.y_train.dtype, data.classes) == (torch.float32, torch.int64, 10)
    x, y = torch.cat([data.x_train, data.x_test]), torch.cat([data.y_train, data.y_test])
    pixels, labels = load_digits(return_X_y=True)
    assert len(x) == 1797
    assert as_set(x, y) == as_set(torch.from_numpy(pixels), torch.from_numpy(labels))  # every image once


def test_the_split_belongs_to_the_seed() -> None:
    one, same, other = (digits(seed, train_size=900, test_size=100) for seed in (0, 0, 1))
    assert torch.equal(one.x_train, same.x_train) and torch.equal(one.y_test, same.y_test)
    assert not torch.equal(one.y_train, other.y_train)
    assert not torch.equal(one.y_train, one.y_train.sort().values)
    assert one.y_train.bincount().min() > 50  # all ten classes, drawn at random


def test_the_split_is_the_beginning_of_one_random_order() -> None:
    """As it was before there were classes and corruptions: published runs keep their data."""
    x, y = read()
    order = torch.randperm(1797, generator=stream(5, "all", "split"))
    data = digits(5, train_size=30, test_size=20)
    assert torch.equal(data.x_train, x[order[:30]]) and torch.equal(data.y_train, y[order[:30]])
    assert torch.equal(data.x_test, x[order[30:50]]) and torch.equal(data.y_test, y[order[30:50]])


@pytest.mark.parametrize(
    ("train_size", "test_size", "got"),
    [(1000, None, (1000, 797)), (10, 20, (10, 20)), (1000, 797, (1000, 797)), (None, 500, (1297, 500)),
     (None, None, (1796, 1)), (1796, None, (1796, 1))],
)  # fmt: skip
def test_sizes(train_size: int | None, test_size: int | None, got: tuple[int, int]) -> None:
    """E.1: n_samples_train and n_samples_test are honoured."""
    data = digits(train_size=train_size, test_size=test_size)
    assert (len(data.x_train), len(data.x_test)) == (len(data.y_train), len(data.y_test)) == got


def test_parts_overlap_nowhere() -> None:
    """A smaller training set is a part of the larger one's, and the test set is none of it."""
    small, large = digits(train_size=100, test_size=200), digits()
    assert torch.equal(small.x_train, large.x_train[:100])
    assert torch.equal(small.x_test, large.x_train[100:300])


@pytest.mark.parametrize(("train_size", "test_size"), [(100, 50), (300, None), (None, 40)])
def test_classes_of_the_digits(train_size: int | None, test_size: int | None) -> None:
    """A beginning of the same order, of which only these labels are kept, counted in the order given."""
    x, y = read()
    order = torch.randperm(1797, generator=stream(0, "all", "split")).tolist()
    kept = [i for i in order if y[i] in (5, 3)]
    train = train_size or len(kept) - (test_size or 1)
    test = test_size or len(kept) - train
    data = digits(classes=[5, 3], train_size=train_size, test_size=test_size)
    assert torch.equal(data.x_train, x[kept[:train]])
    assert torch.equal(data.x_test, x[kept[train : train + test]])
    assert data.y_train.tolist() == [{5: 0, 3: 1}[int(y[i])] for i in kept[:train]]
    assert data.y_test.tolist() == [{5: 0, 3: 1}[int(y[i])] for i in kept[train : train + test]]
    assert data.classes == 2


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"classes": [3], "train_size": 183},
         r"landscape.data.train_size = 183: at most 182 samples of the classes \[3\] can be had"),
        ({"classes": [3, 5], "train_size": 300, "test_size": 66},
         r"landscape.data.train_size = 300: at most 299 samples of the classes \[3, 5\] can be had"),
    ],
)  # fmt: skip
def test_more_than_there_are(keys: dict[str, Any], says: str) -> None:
    """E.1: the original indexes past the end."""
    assert [int(n) for n in read()[1].bincount()[[3, 5]]] == [183, 182]
    with pytest.raises(UserError, match=says):
        digits(**keys)


@pytest.mark.parametrize(("how", "of_test"), [("train", "train"), ("split", "test")])
def test_normalized(how: str, of_test: str) -> None:
    """E.4: by the statistics of the training part; `split` is the original's way, each part by its own."""
    raw, done = (digits(train_size=700, test_size=300, normalize=how) for how in (None, how))
    for split, by in (("train", "train"), ("test", of_test)):
        numbers = raw.split(by)[0].double().numpy()  # one mean and deviation for all pixels
        expected = (raw.split(split)[0].double().numpy() - numbers.mean()) / numbers.std()
        np.testing.assert_allclose(done.split(split)[0].numpy(), expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(done.split(split)[1], raw.split(split)[1])
    assert abs(done.x_train.mean()) < 1e-5 and abs(done.x_train.std(correction=0) - 1) < 1e-5
    assert (abs(done.x_test.mean()) < 1e-5) == (how == "split")


# ---- the user's own ----------------------------------------------------------------------------------------------

SOURCE = """
import numpy as np
import torch
from torch.utils.data import Dataset

def numbers(seed, n):
    g = np.random.default_rng(seed)
    return g.standard_normal((n, 4)), np.arange(n) % 3

def arrays(seed, n=9):
    return *numbers(seed, n), *numbers(seed + 1, 5)

def tensors(seed, n=9):
    return [torch.as_tensor(v) for v in arrays(seed, n)]

class Pairs(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y
    def __len__(self):
        return len(self.x)
    def __getitem__(self, i):
        return self.x[i], int(self.y[i])

def datasets(seed, n=9):
    return Pairs(*numbers(seed, n)), Pairs(*numbers(seed + 1, 5))

def half(seed):
    return tensors(seed)[:3]

def crooked(seed):
    x, y, *test = tensors(seed)
    return x, y[:-1], *test

def empty(seed):
    x, y, *_ = tensors(seed)
    return x, y, x[:0], y[:0]

def no_samples(seed):
    return Pairs(*numbers(seed, 9)), Pairs(*numbers(seed, 0))

def generators(seed):
    return iter([(0, 1)]), iter([(0, 1)])

def unequal(seed):
    return Pairs([np.zeros(4), np.zeros(5)], [0, 1]), Pairs(*numbers(seed, 5))

def words(seed):
    return np.array([["a", "b"]]), np.arange(1), np.array([["a", "b"]]), np.arange(1)

def missing(seed):
    open("/nowhere/images.npy")

def positive_only(seed):
    raise ValueError("n must be positive")

def real(seed):
    x, y, x_test, y_test = tensors(seed)
    return x, y.double(), x_test, y_test.double()

def bytes(seed):
    x, y, x_test, y_test = tensors(seed)
    return (100 * x).abs().byte(), y, (100 * x_test).abs().byte(), y_test

def flat(seed):
    x, y, x_test, y_test = tensors(seed)
    return x[:, 0], y, x_test[:, 0], y_test

def columns(seed):
    x, y, x_test, y_test = tensors(seed)
    return x, y.double()[:, None], x_test, y_test.double()[:, None]
"""


def made(module: str, function: str, **keys: Any) -> Network:
    data = {"name": f"{module}:{function}", **keys.pop("data", {})}
    model = {"name": "mlp", "hidden": [5]}
    landscape = build(NetworkConfig.model_validate({"data": data, "model": model, **keys}), seed=3, dtype="float64")
    assert isinstance(landscape, Network)
    return landscape


@pytest.mark.parametrize("function", ["arrays", "tensors", "datasets"])
def test_what_may_be_returned(user_module: Any, function: str) -> None:
    module = user_module(SOURCE)
    landscape = made(module, function, data={"args": {"n": 7}})
    generator = np.random.default_rng(3)
    np.testing.assert_array_equal(landscape.inputs["train"].numpy(), generator.standard_normal((7, 4)))
    np.testing.assert_array_equal(landscape.inputs["test"].numpy(), np.random.default_rng(4).standard_normal((5, 4)))
    assert landscape.targets["train"].argmax(1).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert landscape.size == 5 * 5 + 6 * 3 and landscape.train_size == 7


@pytest.mark.parametrize("how", ["train", "split"])
def test_normalized_if_asked(user_module: Any, how: str) -> None:
    module = user_module(SOURCE)
    raw, done = made(module, "arrays"), made(module, "arrays", data={"normalize": how})
    for split, of in (("train", "train"), ("test", how if how == "train" else "test")):
        x = raw.inputs[of]
        expected = (raw.inputs[split] - x.mean()) / x.std(correction=0)
        torch.testing.assert_close(done.inputs[split], expected, rtol=1e-12, atol=1e-12)


def test_real_numbers_in_the_landscapes_precision(user_module: Any) -> None:
    single = build(NetworkConfig.model_validate({"data": {"name": f"{user_module(SOURCE)}:arrays"}}), dtype="float32")
    assert isinstance(single, Network)
    assert {v.dtype for part in (single.inputs, single.targets) for v in part.values()} == {torch.float32}


def test_targets_that_are_vectors(user_module: Any) -> None:
    module = user_module(SOURCE)
    landscape = made(module, "columns", loss="squared_error")
    assert landscape.net.output_shape == (1,)
    theta = torch.zeros(1, landscape.size, dtype=torch.float64)
    y = torch.arange(9).double() % 3
    assert landscape.loss(theta).item() == pytest.approx((y**2 / 2).mean().item(), rel=1e-14)
    assert landscape.accuracy(theta).isnan().all()


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("half", "must return x_train, y_train, x_test, y_test or two Datasets"),
        ("crooked", "9 train inputs and 8 train targets"),
        ("empty", "0 test inputs and 0 test targets"),
        ("no_samples", "a Dataset is empty"),
        ("generators", "a Dataset needs __len__ and __getitem__"),
        ("unequal", r"equal size"),
        ("words", r"TypeError: can't convert np.ndarray of type numpy.str_"),
        ("missing", r"FileNotFoundError: .*/nowhere/images.npy"),
        ("positive_only", r"ValueError: n must be positive"),
        ("nothing", "has no nothing"),
    ],
)
def test_what_cannot_be_used(user_module: Any, function: str, says: str) -> None:
    module = user_module(SOURCE)
    with pytest.raises(UserError, match=f"landscape.data.name = {module}:{function}: .*{says}"):
        made(module, function)


def test_arguments_that_do_not_fit(user_module: Any) -> None:
    with pytest.raises(UserError, match=r"landscape.data.name = users_own_0:arrays: TypeError: .*depth"):
        made(user_module(SOURCE), "arrays", data={"args": {"depth": 3}})


@pytest.mark.parametrize(
    ("function", "says"),
    [("real", r"landscape.data: targets of shape \[N\] are real numbers"),
     ("bytes", r"landscape.data: inputs are whole numbers \(uint8\)"),
     ("flat", r"landscape.data: inputs of shape \[N\].*give them as \[N, 1\]")],
)  # fmt: skip
def test_what_a_perceptron_cannot_use(user_module: Any, function: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        made(user_module(SOURCE), function)


# ---- the user's own, prepared ------------------------------------------------------------------------------------

IMAGES = """
import torch

def images(seed, n=200, m=60, C=4):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(n, 1, 6, 5, generator=g, dtype=torch.float64), torch.randint(C, (n,), generator=g),
            torch.randn(m, 1, 6, 5, generator=g, dtype=torch.float64), torch.randint(C, (m,), generator=g))

def tokens(seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(50, (48, 7), generator=g)
    return x[:40], torch.arange(40) % 4, x[40:], torch.arange(8) % 4

def regression(seed):
    x, y, x_test, y_test = images(seed)
    return x, y[:, None].double(), x_test, y_test[:, None].double()

def signed(seed):
    x, y, x_test, y_test = images(seed)
    return x, y - 1, x_test, y_test - 1

def vectors(seed):
    x, y, x_test, y_test = images(seed)
    return x[:, 0, 0], y, x_test[:, 0, 0], y_test

def flat(seed):
    x, y, x_test, y_test = images(seed)
    return x[:, 0, 0, 0], y, x_test[:, 0, 0, 0], y_test

def real(seed):
    x, y, x_test, y_test = vectors(seed)
    return x, y.double(), x_test, y_test.double()

class Net(torch.nn.Linear):
    def __init__(self, outputs):
        super().__init__(5, outputs)

def mean_square(outputs, targets):
    return (outputs - targets).square().mean()
"""


def users(module: str, function: str, **keys: Any) -> Data:
    config = NetworkConfig.model_validate({"data": {"name": f"{module}:{function}", **keys}}).data
    return prepare(config, seed=3)


def test_a_users_data_are_left_alone(user_module: Any) -> None:
    module = user_module(IMAGES)
    data, again = users(module, "images"), users(module, "tokens", normalize="train")
    assert data.x_train.dtype == torch.float64 and data.classes == 4
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(data.x_train, torch.randn(200, 1, 6, 5, generator=generator, dtype=torch.float64))
    assert not again.x_train.is_floating_point() and again.x_train.max() > 40  # tokens stay tokens


def test_a_users_data_prepared(user_module: Any) -> None:
    """Every key at once: normalised, corrupted, of two classes, so many, with soft labels."""
    module = user_module(IMAGES)
    raw = users(module, "images")
    data = users(
        module, "images", normalize="train", corruption={"name": "some_noise", "rows": 2, "columns": 1},
        classes=[3, 1], train_size=50, test_size=20, labels={"p": 0.8, "q": 0.2},
    )  # fmt: skip
    assert (data.x_train.shape, data.x_test.shape) == ((50, 1, 6, 5), (20, 1, 6, 5))
    assert data.x_train.dtype == torch.float64 and data.classes == 2
    scaled = [(x - raw.x_train.mean()) / raw.x_train.std(correction=0) for x in (raw.x_train, raw.x_test)]
    used = set()
    for x, label in zip(data.x_test, data.y_test, strict=True):
        (number,) = [i for i in range(60) if torch.allclose(scaled[1][i], x)]
        used.add(number)
        assert label.tolist() == {3: [1, 0], 1: [0, 1]}[int(raw.y_test[number])]
    for x, label in zip(data.x_train, data.y_train, strict=True):
        (number,) = [i for i in range(200) if int((scaled[0][i] - x).abs().lt(1e-9).sum()) >= 4 * 4]
        assert label.tolist() == {3: [0.8, 0.2], 1: [0.2, 0.8]}[int(raw.y_train[number])]
        assert int((scaled[0][number] - x).abs().lt(1e-9).sum()) == 4 * 4  # 2 of 6 rows and 1 of 5 columns are noise
    assert len(used) == 20  # without replacement


def test_scrambled_tokens_and_regression(user_module: Any) -> None:
    module = user_module(IMAGES)
    for function in ("tokens", "regression"):
        raw, done = (users(module, function, corruption=how) for how in ("none", "scrambled"))
        assert torch.equal(raw.x_train, done.x_train) and torch.equal(raw.y_test, done.y_test)
        assert not torch.equal(raw.y_train, done.y_train)
        assert torch.equal(raw.y_train.sort(0).values, done.y_train.sort(0).values)


@pytest.mark.parametrize(
    ("function", "keys", "says"),
    [
        ("tokens", {"corruption": "double"}, r"corruption = double: inputs must be real .*whole numbers \(int64\)"),
        ("tokens", {"corruption": "all_noise"}, r"corruption = all_noise: inputs must be real numbers"),
        ("tokens", {"corruption": "some_noise"}, r"corruption = some_noise: inputs must be real numbers"),
        ("regression", {"corruption": "double"}, r"corruption = double: needs class labels \[N\]"),
        ("signed", {"corruption": "double"}, r"corruption = double: needs class labels \[N\]"),
        ("flat", {"corruption": "double"}, r"corruption = double: inputs of shape \[N\] have no side by side"),
        ("vectors", {"corruption": "some_noise"}, r"corruption = some_noise: needs images .* inputs are \[N, 5\]"),
        ("images", {"corruption": "some_noise"}, r"corruption.rows = 7: images of shape \[N, 1, 6, 5\] have 6"),
        ("images", {"corruption": {"name": "some_noise", "rows": 1, "columns": 6}},
         r"corruption.columns = 6: images of shape \[N, 1, 6, 5\] have 5"),
        ("regression", {"classes": [0]}, r"classes: needs class labels \[N\]"),
        ("images", {"classes": [1, 4]}, r"classes = \[1, 4\]: labels go from 0 to 3"),
        ("regression", {"labels": {"p": 0.9, "q": 0.1}}, r"labels: needs class labels \[N\]"),
        ("images", {"labels": {"p": 0.91, "q": 0.01}},
         r"labels = {p: 0.91, q: 0.01}: with 4 classes p \+ 3 q must be 1, and is 0.94"),
        ("images", {"train_size": 201}, r"train_size = 201: at most 200 samples can be had"),
        ("images", {"test_size": 61}, r"test_size = 61: at most 60 samples can be had"),
    ],
)  # fmt: skip
def test_what_the_users_data_do_not_allow(user_module: Any, function: str, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=rf"^landscape.data.{says}"):
        users(user_module(IMAGES), function, **keys)


def test_a_target_that_torch_would_spread(user_module: Any) -> None:
    """Targets [N] against outputs [N, 1] are a matrix of differences [N, N], and its mean is no loss of anything."""
    module = user_module(IMAGES)
    keys = {"data": {"name": f"{module}:real"}, "model": {"name": f"{module}:Net", "args": {"outputs": 1}}}
    for loss in (f"{module}:mean_square", "squared_error"):
        with pytest.raises(UserError, match=r"targets of shape \[N\] do not fit outputs of shape \[N, 1\]"):
            build(NetworkConfig.model_validate({**keys, "loss": loss}))


def test_one_seed_one_data_set() -> None:
    keys = {"classes": [1, 2, 3], "train_size": 200, "test_size": 50, "labels": {"p": 0.8, "q": 0.1}}
    for corruption in ("none", "double", "scrambled", "all_noise", "some_noise"):
        one, same, other = (digits(seed, corruption=corruption, **keys) for seed in (0, 0, 1))
        for split in ("train", "test"):
            assert all(map(torch.equal, one.split(split), same.split(split)))
            assert not any(map(torch.equal, one.split(split), other.split(split)))
