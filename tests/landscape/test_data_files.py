"""Files of MNIST's family and of CIFAR-10: small ones that the tests write, and the real Fashion-MNIST."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from walkers_dist.config.data import CIFAR10Config, FashionMNISTConfig, MNISTConfig
from walkers_dist.config.errors import UserError
from walkers_dist.landscape.data import Data
from walkers_dist.landscape.data.prepare import prepare

FASHION = "/usr/share/datasets/fashion-mnist"
TRAIN, TEST = 40, 12


@pytest.fixture(autouse=True)
def _nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own data sets are out of sight."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("WALKERS_DATA", raising=False)


def idx(values: np.ndarray) -> bytes:
    """The format as its author describes it: two zeros, the type 0x08, the dimensions, their sizes, the bytes."""
    sizes = b"".join(struct.pack(">i", n) for n in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + bytes(values.flatten().tolist())


def numbers() -> dict[str, np.ndarray]:
    g = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": g.integers(0, 256, (TRAIN, 7, 5)),
        "train-labels-idx1-ubyte": np.arange(TRAIN) % 10,
        "t10k-images-idx3-ubyte": g.integers(0, 256, (TEST, 7, 5)),
        "t10k-labels-idx1-ubyte": np.arange(TEST) % 10,
    }


def written(folder: Path, dot: bool = False, packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in numbers().items():
        name = name.replace("-idx", ".idx") if dot else name
        content = idx(values)
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return folder


def mnist(path: Path | None = None, seed: int = 0, **keys: Any) -> Data:
    keys = {"train_size": None, "normalize": None, **keys}
    return prepare(MNISTConfig.model_validate({"path": None if path is None else str(path), **keys}), seed)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dot", [False, True])
def test_idx_files(tmp_path: Path, dot: bool, packed: bool) -> None:
    data, there = mnist(written(tmp_path, dot, packed)), numbers()
    assert data.x_train.dtype == torch.float32 and data.y_train.dtype == torch.int64 and data.classes == 10
    for split, name in (("train", "train"), ("test", "t10k")):
        x, y = data.split(split)
        expected = there[f"{name}-images-idx3-ubyte"][:, None] / 255
        np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6)
        assert y.tolist() == there[f"{name}-labels-idx1-ubyte"].tolist()


@pytest.mark.parametrize("how", ["train", "split"])
def test_e4_normalised_by_all_training_images(tmp_path: Path, how: str) -> None:
    """By the whole training part that was loaded, whichever samples of it are asked for."""
    there = numbers()
    train, test = (there[f"{name}-images-idx3-ubyte"] / 255 for name in ("train", "t10k"))
    own = test if how == "split" else train
    raw, data = mnist(written(tmp_path), train_size=15), mnist(tmp_path, train_size=15, normalize=how)
    for x, pixels, by in ((data.x_train, raw.x_train, train), (data.x_test, raw.x_test, own)):
        expected = (pixels.double().numpy() - by.mean()) / by.std()
        np.testing.assert_allclose(x.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_e1_a_seeded_subset_without_replacement(tmp_path: Path) -> None:
    written(tmp_path)
    whole, one, same, other = (
        mnist(tmp_path, seed, train_size=size) for seed, size in ((0, None), (0, 25), (0, 25), (1, 25))
    )
    number = {tuple(image.flatten().tolist()): i for i, image in enumerate(whole.x_train)}
    picked = [number[tuple(image.flatten().tolist())] for image in one.x_train]
    assert len(set(picked)) == 25 and picked != sorted(picked)
    assert one.y_train.tolist() == [int(whole.y_train[i]) for i in picked]
    assert torch.equal(one.x_train, same.x_train) and not torch.equal(one.x_train, other.x_train)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"train_size": TRAIN + 1}, "landscape.data.train_size = 41: at most 40 samples can be had"),
        ({"test_size": TEST + 1}, "landscape.data.test_size = 13: at most 12 samples can be had"),
        ({"classes": [1, 9], "train_size": 9},
         "landscape.data.train_size = 9: at most 8 samples of the classes [1, 9] can be had"),
        ({"corruption": {"name": "some_noise", "rows": 8, "columns": 1}},
         "landscape.data.corruption.rows = 8: images of shape [N, 1, 7, 5] have 7"),
    ],
)  # fmt: skip
def test_e1_more_than_available(tmp_path: Path, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        mnist(written(tmp_path), **keys)
    assert str(caught.value) == says


def test_classes_are_counted_in_the_order_given(tmp_path: Path) -> None:
    whole, some = mnist(written(tmp_path)), mnist(tmp_path, classes=[9, 0, 4])
    kept = [i for i, label in enumerate(whole.y_train.tolist()) if label in (9, 0, 4)]
    assert torch.equal(some.x_train, whole.x_train[kept]) and some.classes == 3
    assert some.y_train.tolist() == [[9, 0, 4].index(int(whole.y_train[i])) for i in kept]


# ---- where they lie ----------------------------------------------------------------------------------------------


def test_the_usual_places_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:
        mnist()
    cache = tmp_path / "cache" / "walkers_dist" / "mnist"
    missing = "landscape.data.name = mnist: there is no train-images-idx3-ubyte in"
    gets = "`walkers data fetch mnist` gets it, or landscape.data.path"
    assert str(caught.value) == f"{missing} {cache}; {gets}"
    written(cache)
    assert len(mnist().x_train) == TRAIN
    monkeypatch.setenv("WALKERS_DATA", str(tmp_path / "mine"))
    assert len(mnist().x_train) == TRAIN
    for name in written(tmp_path / "mine" / "mnist").iterdir():
        name.write_bytes(b"")
    with pytest.raises(UserError, match=f"{tmp_path}/mine/mnist/train-images-idx3-ubyte: is no idx file"):
        mnist()  # the user's folder comes before the cache


def test_the_home_folder_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    written(tmp_path / "home" / ".cache" / "walkers_dist" / "mnist")
    assert len(mnist().x_train) == TRAIN


def test_not_found(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        mnist(tmp_path / "nothing")
    gets = "without a path, `walkers data fetch mnist` gets it"
    assert str(caught.value) == f"landscape.data.path = {tmp_path}/nothing: holds no train-images-idx3-ubyte; {gets}"
    (written(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError) as caught:
        mnist(tmp_path)
    assert str(caught.value) == f"{tmp_path}: t10k-labels-idx1-ubyte is missing beside train-images-idx3-ubyte"


# ---- damage ------------------------------------------------------------------------------------------------------

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (IMAGES, b"", "is no idx file of bytes in 3 dimensions: begins with"),
        (IMAGES, b"\x89PNG\r\n\x1a\n", "is no idx file of bytes in 3 dimensions: begins with 89504e47"),
        (IMAGES, idx(np.zeros((4, 4), int)), "is no idx file of bytes in 3 dimensions: begins with 00000802"),
        (IMAGES, idx(np.zeros((4, 4, 4), int))[:9], "is no idx file of bytes in 3 dimensions: begins with 00000803"),
        (IMAGES, idx(np.zeros((TRAIN, 7, 5), int))[:-1], "is damaged: 1399 bytes after a header that says 40 x 7 x 5"),
        (IMAGES, idx(np.zeros((40, 7, 5), int)) + b"0", "is damaged: 1401 bytes after a header that says 40 x 7 x 5"),
        (LABELS, idx(np.zeros(TRAIN - 1, int)), "holds 39 labels, and train-images-idx3-ubyte holds 40 images"),
        (LABELS, idx(np.full(TRAIN, 26)), "labels of mnist go from 0 to 9, and there is 26"),
        ("t10k-images-idx3-ubyte", idx(np.zeros((TEST, 5, 5), int)), "its images are 5 x 5, those for training 7 x 5"),
    ],
)  # fmt: skip
def test_damaged_idx_files(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (written(tmp_path) / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        mnist(tmp_path)
    assert str(caught.value) == f"{tmp_path}/{name}: {says}"


@pytest.mark.parametrize("damage", ["cut", "no gzip", "flipped"])
def test_damaged_gzip_files(tmp_path: Path, damage: str) -> None:
    file = written(tmp_path, packed=True) / f"{IMAGES}.gz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes({"cut": file.read_bytes()[:-20], "no gzip": b"hello", "flipped": bytes(content)}[damage])
    with pytest.raises(UserError, match=rf"^{file}: is damaged: "):
        mnist(tmp_path)


def test_checksums_are_verified(tmp_path: Path) -> None:
    written(tmp_path)
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in tmp_path.iterdir()}
    (tmp_path / "checksums.json").write_text(json.dumps(sums))
    mnist(tmp_path)
    content = bytearray((tmp_path / IMAGES).read_bytes())
    content[-1] ^= 1
    (tmp_path / IMAGES).write_bytes(content)
    with pytest.raises(UserError, match=rf"^{tmp_path}/{IMAGES}: is damaged: its SHA-256 is not the one in"):
        mnist(tmp_path)
    (tmp_path / "checksums.json").write_text("[1")
    with pytest.raises(UserError, match=rf"^{tmp_path}/checksums.json: is damaged"):
        mnist(tmp_path)


# ---- CIFAR-10 ----------------------------------------------------------------------------------------------------


def batches(folder: Path, n: int = 4) -> np.ndarray:
    """Six files of n records; returns all records [6 n, 3073]."""
    folder.mkdir(parents=True, exist_ok=True)
    records = np.random.default_rng(1).integers(0, 256, (6 * n, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(6 * n) % 10
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for name, part in zip(names, np.split(records, 6), strict=True):
        (folder / name).write_bytes(part.tobytes())
    return records


def cifar(path: Path) -> Data:
    return prepare(CIFAR10Config(path=str(path), train_size=None, normalize=None), 0)


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-bin"])
def test_cifar_batches(tmp_path: Path, inside: str) -> None:
    """A record is a label, then 1024 bytes of red, of green, of blue, each row after row."""
    records, data = batches(tmp_path / inside), cifar(tmp_path)
    assert data.x_train.shape == (20, 3, 32, 32) and data.x_test.shape == (4, 3, 32, 32)
    assert [*data.y_train.tolist(), *data.y_test.tolist()] == records[:, 0].tolist()
    x = torch.cat([data.x_train, data.x_test])
    for n, channel, row, column in ((0, 0, 0, 0), (7, 1, 3, 31), (23, 2, 30, 5)):
        byte = records[n, 1 + 1024 * channel + 32 * row + column]
        assert x[n, channel, row, column] == pytest.approx(byte / 255, rel=1e-6)


def test_damaged_cifar_batches(tmp_path: Path) -> None:
    records = batches(tmp_path)
    file = tmp_path / "data_batch_3.bin"
    for content, says in ((b"", "0 bytes are no whole number of records of 3073 bytes"),
                          (records[:2].tobytes()[:-1], "6145 bytes are no whole number of records")):  # fmt: skip
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"^{file}: is damaged: {says}"):
            cifar(tmp_path)
    file.write_bytes(bytes([200]) * 3073)
    with pytest.raises(UserError, match=rf"^{file}: labels of cifar10 go from 0 to 9, and there is 200"):
        cifar(tmp_path)


# ---- the real thing ----------------------------------------------------------------------------------------------


def test_fashion_mnist(fashion: None) -> None:
    data = prepare(FashionMNISTConfig(train_size=None, path=FASHION), 0)
    assert (data.x_train.shape, data.x_test.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert data.y_train.bincount().tolist() == [6000] * 10 and data.y_test.bincount().tolist() == [1000] * 10
    assert abs(data.x_train.mean()) < 1e-4 and abs(data.x_train.std() - 1) < 1e-4
    raw = prepare(FashionMNISTConfig(train_size=None, normalize=None), 0)  # where Debian's package puts it
    assert raw.x_train.mean().item() == pytest.approx(0.2860, abs=5e-5)  # as published with the data set
    assert raw.x_train.std().item() == pytest.approx(0.3530, abs=5e-5)
    assert raw.y_train[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]


def test_default_network_of_the_original(fashion: None) -> None:
    """E.1, F 33: 784-100-100-10 on 1,000 training samples has 89,610 parameters."""
    from walkers_dist.config.landscape import MLPConfig, NetworkConfig
    from walkers_dist.landscape import build

    landscape = build(NetworkConfig(data=FashionMNISTConfig(), model=MLPConfig(hidden=(100, 100))))
    assert (landscape.size, landscape.train_size) == (89610, 1000)
