"""The keys of data sets: what is written down for a run, and every wrong value in one line."""

from __future__ import annotations

from typing import Any

import pytest

from walkers_dist.config import text
from walkers_dist.config.data import ClustersConfig, CustomData, DataConfig, SoftLabels, SomeNoise
from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import NetworkConfig
from walkers_dist.config.load import dump, parse
from walkers_dist.config.merge import merged

EVERY = ["name", "train_size", "test_size", "classes", "normalize", "corruption", "labels"]
NAMES = ["digits", "mnist", "fashion_mnist", "cifar10", "clusters", "random", "json:loads"]


def data(*overrides: str) -> DataConfig:
    experiment = parse(merged({}, [f"landscape.data.{word}" for word in overrides]), "x")
    assert parse(text.parse(dump(experiment)), "x") == experiment
    assert isinstance(experiment.landscape, NetworkConfig)
    return experiment.landscape.data


@pytest.mark.parametrize("name", NAMES)
def test_keys_that_all_data_sets_have(name: str) -> None:
    keys = data(f"name={name}").model_dump()
    assert list(keys)[:7] == EVERY
    own = {"clusters": 5, "random": 2, "json:loads": 1, "digits": 0}
    assert len(keys) == 7 + own.get(name, 1)
    assert keys["train_size"] == (None if name == "json:loads" else 1000)
    assert keys["normalize"] == (None if name in ("clusters", "random", "json:loads") else "train")
    assert (keys["test_size"], keys["classes"], keys["corruption"], keys["labels"]) == (None, None, "none", "hard")


@pytest.mark.parametrize("name", ["double", "scrambled", "all_noise", "none"])
def test_e1_mnist_type_is_a_word(name: str) -> None:
    assert data(f"corruption={name}").corruption == name


@pytest.mark.parametrize(
    ("word", "rows", "columns"),
    [("some_noise", 7, 7), ("{name: some_noise}", 7, 7), ("{rows: 3}", 3, 7), ("{name: some_noise, columns: 0}", 7, 0)],
)
def test_parameters_of_a_corruption_are_written_down(word: str, rows: int, columns: int) -> None:
    found = data(f"corruption={word}")
    assert found.corruption == SomeNoise(rows=rows, columns=columns)
    assert found.model_dump()["corruption"] == {"name": "some_noise", "rows": rows, "columns": columns}


def test_soft_labels() -> None:
    assert data("labels={p: 0.91, q: 0.01}").labels == SoftLabels(p=0.91, q=0.01)
    assert data("labels={p: 1.0, q: 0.0}", "classes=[4, 2]", "train_size=100").classes == (4, 2)
    assert data("name=json:loads", "labels={p: 0.3, q: 0.1}").labels == SoftLabels(
        p=0.3, q=0.1
    )  # classes not known yet
    assert data("name=clusters", "clusters=4", "class_of=[0, 1, 0, 1]", "labels={p: 0.9, q: 0.1}") == ClustersConfig(
        clusters=4, class_of=(0, 1, 0, 1), labels=SoftLabels(p=0.9, q=0.1)
    )


def test_another_name_keeps_common_keys() -> None:
    found = data("name=mnist", "path=here", "classes=[1, 2]", "corruption=scrambled", "name=json:loads")
    assert found == CustomData(name="json:loads", classes=(1, 2), corruption="scrambled")


WORDS = "none, double, scrambled, all_noise or some_noise or a mapping (name, rows, columns)"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["name=minst"],
         f".name = minst: must be {', '.join(NAMES[:-1])} or an import path module:attribute; did you mean mnist?"),
        (["train_size=0"], ".train_size = 0: must be an integer of at least 1 and at most 1796 or null"),
        (["name=mnist", "train_size=0"], ".train_size = 0: must be an integer of at least 1 or null"),
        (["test_size=true"], ".test_size = true: must be an integer of at least 1 or null"),
        (["train_size=null", "test_size=1797"],
         ": train_size = null and test_size = 1797 must be together at most 1797"),
        (["classes=3"], ".classes = 3: must be a list, each entry an integer of at least 0 or null"),
        (["classes=[]"], ".classes = []: must hold at least one label, and each once"),
        (["classes=[3, 3]"], ".classes = [3, 3]: must hold at least one label, and each once"),
        (["classes=[3, 10]"], ".classes = [3, 10]: labels go from 0 to 9"),
        (["classes=[-1]"], ".classes.0 = -1: must be at least 0"),
        (["name=random", "label_count=3", "classes=[3]"], ".classes = [3]: labels go from 0 to 2"),
        (["normalize=all"], ".normalize = all: must be train or split or null"),
        (["corruption=scrambld"], f".corruption = scrambld: must be {WORDS}"),
        (["corruption=null"], f".corruption = null: must be {WORDS}"),
        (["corruption={name: double}"], ".corruption.name = double: must be some_noise"),
        (["corruption={row: 3}"], None),
        (["corruption={rows: -1}"], ".corruption.rows = -1: must be at least 0"),
        (["corruption={columns: 1.5}"], ".corruption.columns = 1.5: must be an integer of at least 0"),
        (["corruption={rows: 0, columns: 0}"], ".corruption: rows and columns must not both be 0"),
        (["labels=soft"], ".labels = soft: must be hard or a mapping (p, q)"),
        (["labels={p: 0.91}"], ".labels.q is missing: must be a number of at least 0 and at most 1"),
        (["labels={p: 1.5, q: 0.1}"], ".labels.p = 1.5: must be at least 0 and at most 1"),
        (["labels={p: .nan, q: 0.1}"], ".labels.p = .nan: must be a number of at least 0 and at most 1"),
        (["labels={p: 0.91, q: 0.1}"],
         ".labels = {p: 0.91, q: 0.1}: with 10 classes p + 9 q must be 1, and is 1.81"),
        (["classes=[1, 2, 3]", "labels={p: 0.91, q: 0.01}"],
         ".labels = {p: 0.91, q: 0.01}: with 3 classes p + 2 q must be 1, and is 0.93"),
        (["name=mnist", "path=3"], ".path = 3: must be text or null"),
        (["name=clusters", "train_size=null"], ".train_size = null: must be an integer of at least 1"),
        (["name=clusters", "clusters=0"], ".clusters = 0: must be at least 1"),
        (["name=clusters", "norm=-1"], ".norm = -1: must be at least 0"),
        (["name=clusters", "std=x"], ".std = x: must be a number of at least 0 or null"),
        (["name=clusters", "class_of=[0, 1]"],
         ".class_of = [0, 1]: must hold one class for each of clusters = 3"),
        (["name=clusters", "class_of=[0, 2, 2]", "classes=[1]"], ".classes = [1]: no cluster is of 1"),
        (["name=clusters", "classes=[1]", "corruption=double"],
         ".classes = [1]: must be null where corruption = double makes new labels of those that are drawn"),
        (["name=random", "shape=3"], ".shape = 3: must be a list, each entry an integer of at least 1"),
        (["name=random", "shape=[3, 0]"], ".shape.1 = 0: must be at least 1"),
        (["name=random", "label_count=0"], ".label_count = 0: must be at least 1"),
    ],
)  # fmt: skip
def test_wrong_values(overrides: list[str], line: str | None) -> None:
    with pytest.raises(UserError) as caught:
        data(*overrides)
    expected = f"landscape.data{line}" if line else "unknown key landscape.data.corruption.row; did you mean "
    assert str(caught.value).startswith(expected) if line is None else str(caught.value) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_larger_than_any_training_set(name: str) -> None:
    keys: dict[str, Any] = {"landscape": {"data": {"name": name, "train_size": 50}}, "dynamics": {"batch_size": 51}}
    with pytest.raises(UserError, match=r"^dynamics.batch_size = 51: must be at most landscape.data.train_size = 50$"):
        parse(keys, "x")
