"""The registry holds what it promises, and the JSON schema that editors read is made from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from walkers_dist.config import text
from walkers_dist.config.errors import UserError
from walkers_dist.config.json_schema import schema
from walkers_dist.config.kinds import Coupling, Dynamics, Kind, Probe
from walkers_dist.config.load import dump, load, parse
from walkers_dist.config.registry import KINDS, check_importable, lookup

ENTRIES = [(category, name) for category, names in KINDS.items() for name in names]
BASES = {"dynamics": Dynamics, "coupling": Coupling, "probe": Probe}
QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


@pytest.mark.parametrize(("category", "name"), ENTRIES)
def test_every_entry_is_there(category: str, name: str) -> None:
    found = lookup(category, name)
    assert callable(found)
    if category in BASES:
        assert isinstance(found, type) and issubclass(found, Kind) and issubclass(found, BASES[category])
        assert found().name == name


def test_a_path_is_looked_for_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "never_run.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    check_importable("never_run:anything")
    with pytest.raises(UserError, match=r"^never_there:x: there is no module never_there$"):
        check_importable("never_there:x")


@pytest.mark.parametrize("path", ["a:", ":b", "a b:c", "a:b.c", "a:b:c", "a..b:c"])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(UserError, match=r"is written package.module:attribute"):
        check_importable(path)


def test_json_schema_offers_every_kind() -> None:
    found = schema()

    def names(node: dict, key: str) -> set[str]:
        constants = [branch["properties"][key].get("const") for branch in node["oneOf"] if "properties" in branch]
        return {name for name in constants if name}

    assert names(found["properties"]["dynamics"], "name") == set(KINDS["dynamics"])
    assert names(found["properties"]["coupling"], "name") == set(KINDS["coupling"])
    assert names(found["properties"]["landscape"], "kind") == set(KINDS["landscape"])
    assert found["required"] == [] and found["additionalProperties"] is False


GOOD: list[dict] = [
    {},
    text.read(QUICKSTART),
    text.parse(dump(load(QUICKSTART))),
    {"dynamics": {"lr": 1}},
    {"dynamics": {"name": "gd"}},
    {"coupling": None},
    {"coupling": {"period": 3}},
    {"coupling": {"name": "mine:Own", "pull": 3}},
    {"walkers": 2, "landscape": {"kind": "quadratic", "optima": [1, 2]}},
]
BAD: list[dict] = [
    {"zzz": 1},
    {"dynamics": {"lrr": 1}},
    {"dynamics": {"name": "gd", "batch_size": 3}},
    {"coupling": {"name": "none", "alpha": 0.1}},
    {"landscape": {"kind": "nowhere"}},
    {"snapshots": {"every": 0}},
]


@pytest.mark.parametrize(("keys", "good"), [(keys, True) for keys in GOOD] + [(keys, False) for keys in BAD])
def test_json_schema_and_parser_agree(keys: dict, good: bool) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert jsonschema.Draft202012Validator(schema()).is_valid(keys) == good
    if good and "mine:Own" not in str(keys):
        parse(keys, "x")
    elif not good:
        with pytest.raises(UserError):
            parse(keys, "x")
