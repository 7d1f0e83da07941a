"""`walkers data`: the list, and fetching with OpenML's answer replaced."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets

from walkers_dist import cli
from walkers_dist.api import datasets
from walkers_dist.config.data import CIFAR10Config, FashionMNISTConfig, MNISTConfig
from walkers_dist.config.errors import RunFailed, UserError
from walkers_dist.landscape.data.prepare import prepare

CONFIGS = {"mnist": MNISTConfig, "fashion_mnist": FashionMNISTConfig, "cifar10": CIFAR10Config}
Said = pytest.CaptureFixture[str]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("WALKERS_DATA", raising=False)
    return tmp_path / "walkers_dist"


@pytest.fixture
def openml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Let OpenML answer with these arrays, or with an error; returns what it was asked, once it was."""

    def answer(data: Any = None, target: Any = None, error: Exception | None = None) -> dict[str, Any]:
        asked: dict[str, Any] = {}

        def fetch_openml(name: str, **keys: Any) -> SimpleNamespace:
            asked.update(keys, name=name)
            if error:
                raise error
            return SimpleNamespace(data=data, target=target)

        monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch_openml)
        return asked

    return answer


def arrays(n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """As OpenML sends them: numbers that may be floats, labels that are words."""
    g = np.random.default_rng(0)
    return g.integers(0, 256, (n, size)).astype(float), g.integers(0, 10, n).astype(str).astype(object)


def test_list(cache: Path, capsys: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine" / "cifar10").mkdir(parents=True)
    (tmp_path / "mine" / "cifar10" / "test_batch.bin").touch()
    monkeypatch.setenv("WALKERS_DATA", str(tmp_path / "mine"))
    assert cli.main(["data", "list"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "samples", "shape", "classes", "licence", "where"]
    found = {line.split()[0]: line for line in lines}
    assert list(found) == ["digits", "mnist", "fashion_mnist", "cifar10", "clusters", "random"]
    assert "CC BY 4.0" in found["digits"] and "CC BY-SA 3.0" in found["mnist"] and " MIT " in found["fashion_mnist"]
    assert found["mnist"].endswith("not here: walkers data fetch mnist")
    assert found["cifar10"].endswith(f"{tmp_path}/mine/cifar10: data_batch_1.bin is missing beside test_batch.bin")
    columns = [head.index(word) for word in ("samples", "shape", "classes", "licence", "where")]
    assert all(line[at - 1] == " " and line[at] != " " for line in lines for at in columns)


TRAIN, TEST = 50, 10  # in place of so many thousands


@pytest.mark.parametrize(
    ("name", "asked", "shape", "train"),
    [("mnist", "mnist_784", (1, 28, 28), 60000), ("fashion_mnist", "Fashion-MNIST", (1, 28, 28), 60000),
     ("cifar10", "CIFAR_10", (3, 32, 32), 50000)],
)  # fmt: skip
def test_fetch(
    cache: Path, openml: Any, capsys: Said, monkeypatch: pytest.MonkeyPatch, name: str, asked: str,
    shape: tuple[int, ...], train: int,
) -> None:  # fmt: skip
    """What was sent is what is then read, every number in its place."""
    source = datasets.SOURCES[name]
    assert (source.train, datasets.TEST) == (train, 10000)
    monkeypatch.setitem(datasets.SOURCES, name, source._replace(train=TRAIN))
    monkeypatch.setattr(datasets, "TEST", TEST)
    data, target = arrays(TRAIN + TEST, int(np.prod(shape)))
    heard = openml(data, target)
    assert cli.main(["data", "fetch", name]) == 0
    assert capsys.readouterr().out == f"{cache / name}\n"
    assert (heard["name"], heard["version"], heard["as_frame"]) == (asked, 1, False)
    sums = json.loads((cache / name / "checksums.json").read_text())
    assert {file.name for file in (cache / name).iterdir()} == {*sums, "checksums.json"}
    read = prepare(CONFIGS[name](train_size=None, normalize=None), 0)
    assert [*read.y_train.tolist(), *read.y_test.tolist()] == [int(label) for label in target]
    for x, sent in ((read.x_train, data[:TRAIN]), (read.x_test, data[TRAIN:])):
        np.testing.assert_allclose(x.numpy(), sent.reshape(-1, *shape) / 255, rtol=1e-6)

    file = cache / name / min(sums)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=rf"^{file}: is damaged: its SHA-256"):
        prepare(CONFIGS[name](train_size=None), 0)
    datasets.fetch(name)  # and mended
    prepare(CONFIGS[name](train_size=None), 0)


@pytest.mark.parametrize(
    "error", [URLError("no route to host"), TimeoutError("timed\nout"), ValueError("md5 checksum")]
)
def test_no_network(cache: Path, openml: Any, capsys: Said, error: Exception) -> None:
    openml(error=error)
    assert cli.main(["data", "fetch", "mnist"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("walkers: data fetch mnist: cannot be had from OpenML (mnist_784): ")
    assert not (cache / "mnist").exists()  # nothing is left behind


def test_an_answer_that_is_something_else(cache: Path, openml: Any) -> None:
    openml(*arrays(50, 784))
    with pytest.raises(RunFailed, match=r"^data fetch mnist: OpenML sent \[50, 784\] numbers and 50 labels$"):
        datasets.fetch("mnist")
    assert not (cache / "mnist").exists()


def test_a_home_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openml: Any, capsys: Said
) -> None:
    openml(error=AssertionError("must not be asked"))
    (tmp_path / "home").write_text("a file, where even root can make no folder")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cli.main(["data", "fetch", "mnist"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"walkers: data fetch mnist: {tmp_path}/home/.cache/walkers_dist/mnist cannot be written: ")
    assert said.endswith("; XDG_CACHE_HOME names another place\n") and said.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache(cache: Path, openml: Any) -> None:
    openml(error=AssertionError("must not be asked"))
    (cache / "mnist").mkdir(parents=True)
    (cache / "mnist").chmod(0o500)
    with pytest.raises(UserError, match="cannot be written: Permission denied"):
        datasets.fetch("mnist")


@pytest.mark.parametrize("name", ["digits", "minst"])
def test_what_cannot_be_fetched(cache: Path, capsys: Said, name: str) -> None:
    assert cli.main(["data", "fetch", name]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"walkers: data fetch {name}: ")
    assert said.endswith("; what can be fetched: mnist, fashion_mnist, cifar10\n") and said.count("\n") == 1
