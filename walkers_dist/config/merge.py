"""Overrides: `key.sub=value` laid over a mapping, by the rules that let one configuration serve many runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from walkers_dist.config import text
from walkers_dist.config.choice import Choice
from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import DATA, LANDSCAPE, MODEL
from walkers_dist.config.schema import COUPLING, DYNAMICS

CHOICES: dict[str, Choice] = {
    f"{choice.section}.{choice.key}": choice for choice in (DYNAMICS, COUPLING, LANDSCAPE, DATA, MODEL)
}


def split(word: str) -> tuple[str, object]:
    """`key.sub=value` as key and value, the value read as YAML. Raises UserError."""
    key, equals, value = word.partition("=")
    if not equals:
        raise UserError(f"{word}: an override is written key=value")
    if not all(key.split(".")):
        raise UserError(f"{word}: an override is written key=value, with a key like dynamics.lr")
    if not value.strip():
        raise UserError(f"{word}: the value is missing; {key}=null switches a section off")
    try:
        return key, text.parse(value)
    except UserError as error:
        raise UserError(f"{word}: the value is not readable as YAML: {error}") from None


def merged(mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The mapping with the overrides, in their order; the mapping itself stays as it is."""
    out = deepcopy(dict(mapping))
    for word in overrides:
        put(out, *split(word))
    return out


def put(mapping: dict[str, Any], key: str, value: object) -> None:
    """Set a dotted key in place; missing sections are made, a new name or kind drops keys that it does not have."""
    *path, last = key.split(".")
    at: Any = mapping
    for depth, part in enumerate(path):
        inner = _entry(at, part, ".".join(path[:depth])) if isinstance(at, list) else at.get(part)
        if inner is None:
            inner = at[part] = {}
        if not isinstance(inner, dict | list):
            raise UserError(f"unknown key {key}; {'.'.join(path[: depth + 1])} is a value and has no keys")
        at = inner
    if isinstance(at, list):
        _entry(at, last, ".".join(path))
        at[int(last)] = value
        return
    choice = CHOICES.get(key)
    if choice and value != at.get(last, choice.default):
        keys = choice.keys_of(value)
        for other in [other for other in at if other not in keys]:
            del at[other]
    at[last] = value


def get(mapping: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key, None where there is none."""
    at: Any = mapping
    for part in key.split("."):
        if isinstance(at, list | tuple) and part.isdigit() and int(part) < len(at):
            at = at[int(part)]
        elif isinstance(at, Mapping):
            at = at.get(part)
        else:
            return None
    return at


def _entry(entries: list[Any], part: str, where: str) -> Any:
    if not part.isdigit() or int(part) >= len(entries):
        raise UserError(f"unknown key {where}.{part}; entries of {where}, counted from 0: {len(entries)}")
    return entries[int(part)]
