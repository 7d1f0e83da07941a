"""YAML as people expect it (1.2): only true and false are booleans, 1e-3 is a number, no key comes twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from walkers_dist.config.errors import UserError

SCALARS = {  # in this order: what is an integer is no float
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "int": (r"[-+]?[0-9]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
}
EXACT = 2**53
BREAKS = frozenset("\x85\u2028\u2029\ufeff")


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def integer(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))

    def number(self, node: yaml.ScalarNode) -> float:
        text = self.construct_scalar(node).lower()
        value = float(text.replace(".inf", "inf").replace(".nan", "nan"))
        whole = "." not in text and value.is_integer() and abs(value) < EXACT
        return int(value) if whole else value  # so that steps=1e4 is an integer

    def mapping(self, node: yaml.Node) -> dict[str, object]:
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(None, None, "a mapping is expected here", node.start_mark)
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is not text", key_node.start_mark)
            if key in found:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} comes twice", key_node.start_mark)
            found[key] = self.construct_object(value_node, deep=True)
        return found


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = '"' if BREAKS.intersection(data) else None  # written plain, they would be read as a space
        return self.represent_scalar("tag:yaml.org,2002:str", data, style)

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        node.flow_style = node.flow_style or len(str(mapping)) < 100  # what is short stays in one line
        return node


for kind, (pattern, first) in SCALARS.items():
    for side in (_Loader, _Dumper):
        side.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"(?:{pattern})$"), list(first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.mapping)
_Dumper.add_representer(str, _Dumper.represent_str)


def read(path: Path) -> dict[str, Any]:
    """The mapping in a file. Raises UserError, starting with the path."""
    try:
        found = parse(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file, YAML in UTF-8 is expected") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if found is None:
        raise UserError(f"{path}: the file is empty")
    if not isinstance(found, dict):
        raise UserError(f"{path}: must be a mapping of keys to values, is {inline(found)}")
    return found


def parse(text: str) -> Any:
    """The value that a YAML text stands for. Raises UserError, starting with line and column."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{where}{error.problem or error.context}") from None
    except yaml.reader.ReaderError:
        raise UserError("not a text file, it holds control characters") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"not readable as YAML: {error}") from None


def write(mapping: dict[str, Any]) -> str:
    """YAML that `parse` reads back as it was."""
    return yaml.dump(mapping, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def inline(value: object) -> str:
    """A value as one would write it on the command line, cut where it is long."""
    if isinstance(value, str) and value.strip():
        text = value
    else:
        try:
            text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=1e9)
        except yaml.YAMLError:
            text = repr(value)
        text = text.removesuffix("...\n").strip()
    return text if len(text) <= 80 else text[:77] + "..."
