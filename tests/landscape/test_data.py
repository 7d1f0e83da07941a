"""Data: the digits as scikit-learn reads them, and whatever a user's function returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import NetworkConfig
from walkers_dist.landscape import build
from walkers_dist.landscape.data import Data, digits, normalized
from walkers_dist.landscape.network import Network


def as_set(x: Tensor, y: Tensor) -> list[tuple[Any, ...]]:
    return sorted((*map(int, pixels), int(label)) for pixels, label in zip(x.tolist(), y.tolist(), strict=True))


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    data = digits(seed=0, train_size=1000, test_size=None)
    assert (data.x_train.shape, data.x_test.shape) == ((1000, 64), (797, 64))
    x, y = torch.cat([data.x_train, data.x_test]), torch.cat([data.y_train, data.y_test])
    pixels, labels = load_digits(return_X_y=True)
    assert len(x) == 1797
    assert as_set(x, y) == as_set(torch.from_numpy(pixels), torch.from_numpy(labels))  # every image once


def test_the_split_belongs_to_the_seed() -> None:
    one, same, other = (digits(seed=seed, train_size=900, test_size=100) for seed in (0, 0, 1))
    assert torch.equal(one.x_train, same.x_train) and torch.equal(one.y_test, same.y_test)
    assert not torch.equal(one.y_train, other.y_train)
    assert not torch.equal(one.y_train, one.y_train.sort().values)
    assert one.y_train.bincount().min() > 50  # all ten classes, drawn at random


@pytest.mark.parametrize(
    ("train_size", "test_size", "got"),
    [(1000, None, (1000, 797)), (10, 20, (10, 20)), (1000, 797, (1000, 797)), (None, 500, (1297, 500)),
     (None, None, (1796, 1)), (1796, None, (1796, 1))],
)  # fmt: skip
def test_sizes(train_size: int | None, test_size: int | None, got: tuple[int, int]) -> None:
    data = digits(seed=0, train_size=train_size, test_size=test_size)
    assert (len(data.x_train), len(data.x_test)) == (len(data.y_train), len(data.y_test)) == got


def test_parts_overlap_nowhere() -> None:
    """A smaller training set is a part of the larger one's, and the test set is none of it."""
    small, large = digits(seed=0, train_size=100, test_size=200), digits(seed=0, train_size=1000, test_size=None)
    assert torch.equal(small.x_train, large.x_train[:100])
    assert torch.equal(small.x_test, large.x_train[100:300])


@pytest.mark.parametrize(("how", "of_test"), [("train", "train"), ("split", "test")])
def test_normalized(how: str, of_test: str) -> None:
    raw = digits(seed=0, train_size=700, test_size=300)
    done = normalized(raw, how)
    for split, by in (("train", "train"), ("test", of_test)):
        numbers = raw.split(by)[0].double().numpy()  # one mean and deviation for all pixels
        expected = (raw.split(split)[0].double().numpy() - numbers.mean()) / numbers.std()
        np.testing.assert_allclose(done.split(split)[0].numpy(), expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(done.split(split)[1], raw.split(split)[1])
    assert abs(done.x_train.mean()) < 1e-5 and abs(done.x_train.std(correction=0) - 1) < 1e-5
    assert (abs(done.x_test.mean()) < 1e-5) == (how == "split")


def test_tokens_stay_what_they_are() -> None:
    x, y = torch.arange(6).view(3, 2), torch.arange(3)
    assert normalized(Data(x, y, x, y), "train").x_train is x


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
