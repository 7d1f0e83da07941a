"""The command called in this process, in a folder of its own, beside modules of a user."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from walkers_dist import cli

MODULES = {
    "theirs": """
import torch
from torch import nn

from walkers_dist import Landscape

X, LABELS, REAL = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3, torch.ones(20)


def data(*, seed, train=(X, LABELS), test=(X[:6], LABELS[:6])):
    return *train, *test


def absent(*, seed, path="/no/such/digits.npz"):
    open(path)


def damaged(*, seed):
    raise ValueError("not a gzip file")


def nothing(*, seed):
    pass


def three(*, seed):
    return X, LABELS, X


def unequal(*, seed):
    return X, LABELS[:7], X, LABELS


def empty(*, seed):
    return X[:0], LABELS[:0], X, LABELS


def text(*, seed):
    return ["a"], ["b"], ["c"], ["d"]


def wider_test(*, seed):
    return X, LABELS, torch.randn(6, 9), LABELS[:6]


def real_vector(*, seed):
    return X, REAL, X, REAL


def real_column(*, seed):
    return X, REAL[:, None], X, REAL[:, None]


def mixed(*, seed):
    return X, LABELS, X, REAL


def raises(**keys):
    raise ArithmeticError("not today")


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))


class Dropping(nn.Sequential):
    def __init__(self, p=0.5):
        super().__init__(nn.Linear(4, 5), nn.Dropout(p), nn.Linear(5, 3))


class Wide(nn.Linear):
    def __init__(self, inputs=7, outputs=3):
        super().__init__(inputs, outputs)


class Frozen(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)
        self.requires_grad_(False)


class Pair(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

    def forward(self, x):
        return x, x


class NeedsMore(nn.Module):
    def __init__(self, width):
        raise AssertionError("is not called without its width")


def no_module():
    return "a network"


def per_sample(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def a_number(outputs, targets):
    return 3.0


def no_landscape(*, seed, dtype, device):
    return "a bowl"


class Bowl(Landscape):
    def __init__(self, *, seed, dtype, device, size=3):
        self.size = size

    def loss(self, theta, *, split="train", walkers=None):
        return theta.square().sum(1) / 2


class NoPlaceToBegin(Bowl):
    def start(self, walker):
        raise ArithmeticError("no place to begin")
""",
    "theirs_broken": "raise OSError('no licence')\n",
    "theirs_hungry": "import no_such_module_anywhere\n",
}


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the user's modules, where Python finds them."""
    folder = tmp_path_factory.mktemp("modules")
    for name, source in MODULES.items():
        (folder / f"{name}.py").write_text(source)
    sys.path.append(str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture
def folder(modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder in which commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`refused(words)`: the one line that the command refuses them with, leaving everything as it was."""

    def refuse(*words: object) -> str:
        before = contents(folder)
        capsys.readouterr()
        code = cli.main([str(word) for word in words])
        said = capsys.readouterr()
        assert code == 2, said
        assert said.err.startswith("walkers: ") and said.err.count("\n") == 1, said.err
        assert said.out == ""
        assert contents(folder) == before, "something was changed"
        return said.err.removeprefix("walkers: ").rstrip("\n")

    return refuse


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file and folder; but who looked at a run last is left out."""
    found = {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}
    for path in found:
        if path.name == "run.json" and (info := found[path]).endswith(b"}\n"):
            found[path] = json.dumps({**json.loads(info), "owner": None}).encode()
    return found
