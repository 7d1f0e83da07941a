"""From pydantic's errors to one line that names the key, its value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema

from walkers_dist.config.errors import UserError
from walkers_dist.config.text import inline

Node = dict[str, Any]
NOUNS = {"number": "a number", "integer": "an integer", "string": "text", "boolean": "true or false", "null": "null"}
BOUNDS = {
    "exclusiveMinimum": "greater than",
    "minimum": "at least",
    "exclusiveMaximum": "less than",
    "maximum": "at most",
}
OUT_OF_BOUNDS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}


def explain(error: ValidationError, kind: type[BaseModel], value: object, section: str = "") -> UserError:
    """The first error of `value` as an instance of `kind`, which stands at the dotted key `section`."""
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])  # a slip explains a missing key
    root = _schema(kind)
    node, keys = root, [section] if section else []
    for part in first["loc"]:
        child = _child(node, part, root)
        if child is None and first["type"] == "extra_forbidden":
            others = () if keys else list(_dotted(root, root))
            return unknown_key(".".join([*keys, str(part)]), _properties(node, root), others)
        if child is None:  # pydantic goes on with the name of a branch of a union
            break
        node, value = child, _get(value, part)
        keys.append(str(part))
    where, allowed = ".".join(keys), _allowed(node, root)
    if first["type"] == "missing":
        return UserError(f"{where} is missing: must be {allowed}")
    if first["type"] == "value_error" and _properties(node, root):
        return UserError(f"{where}: {first['ctx']['error']}")
    if first["type"] == "value_error":
        return UserError(f"{where} = {inline(value)}: {first['ctx']['error']}")
    if not allowed:
        return UserError(f"{where} = {inline(value)}: {first['msg']}")
    nan = isinstance(value, float) and math.isnan(value)
    if first["type"] in OUT_OF_BOUNDS and "anyOf" not in node and not nan:  # then the value is a number, as it must be
        allowed = allowed.removeprefix(NOUNS[node["type"]]).removeprefix(" of").strip()
    return UserError(f"{where} = {inline(value)}: must be {allowed}")


def unknown_key(key: str, known: Collection[str], elsewhere: Collection[str] = ()) -> UserError:
    """The error for a dotted key whose last part is none of `known`, with the nearest key that there is."""
    head, _, last = key.rpartition(".")
    near = [f"{head}.{name}".lstrip(".") for name in get_close_matches(last, known, 1)]
    near += [other for other in elsewhere if other.endswith(f".{last}")]
    if near:
        return UserError(f"unknown key {key}; did you mean {near[0]}?")
    return UserError(f"unknown key {key}; known{f' in {head}' if head else ''}: {', '.join(known) or 'none'}")


def is_number(kind: type[BaseModel], key: str) -> bool:
    """Whether the field takes numbers, be it among other things."""
    node = _schema(kind).get("properties", {}).get(key, {})
    return any(branch.get("type") in ("number", "integer") for branch in _branches(node))


def either(choices: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join([", ".join(choices[:-1]), choices[-1]] if len(choices) > 1 else choices)


def _schema(kind: type[BaseModel]) -> Node:
    try:
        return kind.model_json_schema()
    except PydanticInvalidForJsonSchema:  # a user's own kind may hold any type
        return {}


def _allowed(node: Node, root: Node) -> str:
    """What a JSON schema allows, in words; nothing where it does not say."""
    node = _resolve(node, root)
    if len(_branches(node)) > 1:
        return either(list(dict.fromkeys(_allowed(branch, root) for branch in _branches(node))))
    if "const" in node or "enum" in node:
        return either([inline(choice) for choice in node.get("enum", [node.get("const")])])
    if node.get("type") == "array":
        return f"a list, each entry {_allowed(node['items'], root)}"
    if node.get("type") == "object":
        keys = f" ({', '.join(node['properties'])})" if "properties" in node else ""
        return f"a mapping{keys}" + (" that is not empty" if node.get("minProperties") else "")
    bounds = " and ".join(f"{words} {node[bound]:g}" for bound, words in BOUNDS.items() if bound in node)
    noun = NOUNS.get(node.get("type", ""), "")
    return f"{noun} of {bounds}" if bounds.startswith("at") else f"{noun} {bounds}".strip()


def _child(node: Node, part: str | int, root: Node) -> Node | None:
    for branch in _branches(_resolve(node, root)):
        found = _resolve(branch, root)
        child: Node | None = found.get("items") if isinstance(part, int) else found.get("properties", {}).get(part)
        if child is not None:
            return child
    return None


def _properties(node: Node, root: Node) -> list[str]:
    branches = _branches(_resolve(node, root))
    return list(dict.fromkeys(key for branch in branches for key in _resolve(branch, root).get("properties", {})))


def _dotted(node: Node, root: Node) -> Iterator[str]:
    for key in _properties(node, root):
        yield key
        yield from (f"{key}.{inner}" for inner in _dotted(_child(node, key, root) or {}, root))


def _branches(node: Node) -> list[Node]:
    return node.get("anyOf") or node.get("oneOf") or [node]


def _resolve(node: Node, root: Node) -> Node:
    return root["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def _get(value: object, part: str | int) -> object:
    try:
        return value[part]  # type: ignore[index]
    except (KeyError, IndexError, TypeError):
        return None
