"""Overrides: what they keep, what they drop, and that their order is the only thing that matters."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkers_dist.config.errors import UserError
from walkers_dist.config.merge import get, merged, put, split

SGD = {"name": "sgd", "lr": 0.3, "momentum": 0.5, "batch_size": 100}
EASGD = {"name": "easgd", "alpha": 0.2, "period": 4, "order": "center_last", "beta": 0.7}


@pytest.mark.parametrize(
    ("before", "override", "after"),
    [
        ({"dynamics": SGD}, "dynamics.lr=1e-3", {"dynamics": {**SGD, "lr": 0.001}}),
        ({}, "curvature.every=50", {"curvature": {"every": 50}}),
        ({"curvature": None}, "curvature.every=50", {"curvature": {"every": 50}}),
        ({"curvature": {"every": 50}}, "curvature=null", {"curvature": None}),
        ({"log": {"every": 3}}, "log={every: 5}", {"log": {"every": 5}}),
        ({"schedule": [{"at": 5}, {"at": 7}]}, "schedule.1.at=3", {"schedule": [{"at": 5}, {"at": 3}]}),
        ({"curvature": {"of": ["w0", "w1"]}}, "curvature.of.1=center", {"curvature": {"of": ["w0", "center"]}}),
        # a whole mapping replaces the section: nothing of the old one is left
        ({"dynamics": SGD}, "dynamics={name: sgd, lr: 1}", {"dynamics": {"name": "sgd", "lr": 1}}),
        # a new name keeps the keys that it has, and gd can have no batch size
        ({"dynamics": SGD}, "dynamics.name=gd", {"dynamics": {"name": "gd", "lr": 0.3, "momentum": 0.5}}),
        (
            {"coupling": EASGD},
            "coupling.name=elementary",
            {"coupling": {"name": "elementary", "alpha": 0.2, "period": 4}},
        ),
        ({"coupling": EASGD}, "coupling.name=none", {"coupling": {"name": "none", "period": 4}}),
        ({"coupling": EASGD}, "coupling.name=easgd", {"coupling": EASGD}),
        ({"coupling": None}, "coupling.name=elementary", {"coupling": {"name": "elementary"}}),
        # the default name stands where there is none, so that naming it drops nothing
        ({"dynamics": {"lrr": 1}}, "dynamics.name=sgd", {"dynamics": {"lrr": 1, "name": "sgd"}}),
        (
            {"landscape": {"kind": "network", "l2": 0.1, "model": {"hidden": [3]}}},
            "landscape.kind=quadratic",
            {"landscape": {"kind": "quadratic"}},
        ),
        (
            {"landscape": {"data": {"name": "mnist", "train_size": 9, "normalize": "split", "path": "here"}}},
            "landscape.data.name=json:loads",
            {"landscape": {"data": {"name": "json:loads", "train_size": 9, "normalize": "split"}}},
        ),
        ({}, "landscape.model.args.width=3", {"landscape": {"model": {"args": {"width": 3}}}}),
    ],
)
def test_one_override(before: dict[str, Any], override: str, after: dict[str, Any]) -> None:
    untouched = deepcopy(before)
    assert merged(before, [override]) == after
    assert before == untouched


def test_in_their_order() -> None:
    there = merged({"dynamics": SGD}, ["dynamics.name=gd", "dynamics.name=sgd", "dynamics.lr=1", "dynamics.lr=2"])
    assert there == {"dynamics": {"name": "sgd", "lr": 2, "momentum": 0.5}}
    again = merged({}, ["coupling.alpha=0.3", "coupling=null", "coupling.period=2"])
    assert again == {"coupling": {"period": 2}}


def test_words() -> None:
    assert split("a.b=c=d") == ("a.b", "c=d")
    assert split("a={b: [1, true, null]}") == ("a", {"b": [1, True, None]})
    with pytest.raises(UserError):
        split("a")


KEY = st.sampled_from(["a", "b", "c", "a.x", "a.y", "b.x", "b.x.z", "c.y"])
TREE = st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abcxyz"), inner), max_leaves=6)
SECTIONS = st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xy"), st.none()))


@given(SECTIONS, KEY, TREE)
def test_what_was_put_is_there_and_nothing_else_moved(mapping: dict[str, Any], key: str, value: object) -> None:
    before = deepcopy(mapping)
    put(mapping, key, value)
    assert get(mapping, key) == value
    for other in ("a.x", "a.y", "b.x", "c.y", "c.x"):
        if not f"{other}.".startswith(f"{key}.") and not f"{key}.".startswith(f"{other}."):
            assert get(mapping, other) == get(before, other)


@given(SECTIONS, st.lists(st.tuples(KEY, st.integers()), max_size=5))
def test_later_words_win_and_repeating_them_changes_nothing(mapping: dict[str, Any], pairs: list[Any]) -> None:
    leaves = [f"{key}.leaf.of={value}" for key, value in pairs]
    once = merged(mapping, leaves)
    assert merged(once, leaves) == once
    assert merged(merged(mapping, leaves[:2]), leaves[2:]) == once
    for key, value in dict(pairs).items():
        assert get(once, f"{key}.leaf.of") == value
