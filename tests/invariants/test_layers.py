"""The architecture: imports go down the layers, nothing runs in a circle, kinds are known without torch.

Probes lie above curvature: a plane may go along eigenvectors. Curvature knows of no probe.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import walkers_dist

PACKAGE = Path(walkers_dist.__file__).parent
LAYERS = [
    {"config"},
    {"records"},
    {"landscape"},
    {"dynamics", "coupling", "curvature"},
    {"probes"},
    {"distributed"},
    {"roles"},
    {"api"},
    {"report", "watch"},
    {"export"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
FILES = {
    ".".join(("walkers_dist", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
MODULES = [name for name in FILES if name != "walkers_dist"]  # the package itself only opens doors, when asked


def imports_of(tree: ast.AST, at_import: bool) -> set[str]:
    """The package's own modules that a module imports: all, or those it imports when it is imported itself."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("walkers_dist"):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in inner}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in FILES}
        elif at_import and (is_only_for_types(node) or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            continue
        found |= imports_of(node, at_import)
    return found


def is_only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


@cache
def graph(at_import: bool) -> dict[str, set[str]]:
    return {name: imports_of(ast.parse(FILES[name].read_text(encoding="utf-8")), at_import) for name in MODULES}


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_room_has_its_layer():
    assert {room(name) for name in MODULES} == set(HEIGHT)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    """Those inside functions and for types alone too."""
    above = [
        name
        for name in graph(at_import=False)[module]
        if name != "walkers_dist" and room(name) != room(module) and HEIGHT[room(name)] >= HEIGHT[room(module)]
    ]
    assert above == []


def test_no_circle():
    try:
        order = list(TopologicalSorter(graph(at_import=True)).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert len(order) >= len(MODULES)


def test_the_rules_see_an_import_wherever_it_stands():
    source = """
from typing import TYPE_CHECKING
import walkers_dist.cli
if TYPE_CHECKING:
    from walkers_dist.roles import rank
def later():
    from walkers_dist.api.running import run
class Here:
    from walkers_dist import curvature
"""
    tree = ast.parse(source)
    at_import = {"walkers_dist.cli", "walkers_dist.curvature"}
    assert imports_of(tree, at_import=True) == at_import
    assert imports_of(tree, at_import=False) == at_import | {"walkers_dist.roles.rank", "walkers_dist.api.running"}


@pytest.mark.parametrize("module", FILES)
def test_no_file_has_two_jobs(module):
    assert len(FILES[module].read_text(encoding="utf-8").splitlines()) <= 400


def loaded_by(modules: list[str], heavy: set[str]) -> set[str]:
    """Which of the heavy packages are loaded once these modules are, in a fresh interpreter."""
    program = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return heavy & set(ended.stdout.split())


def test_kinds_and_records_and_the_command_are_known_without_torch():
    rooms = ("config", "records", "dynamics", "coupling", "probes", "cli")
    light = [name for name in FILES if room(name + ".") in rooms]
    assert len(light) > 25
    assert loaded_by(light, {"torch", "pandas", "matplotlib", "sklearn", "scipy"}) == set()


def test_no_rank_loads_what_only_pictures_need():
    assert loaded_by(["walkers_dist.roles.rank"], {"torch", "pandas", "matplotlib", "sklearn"}) == {"torch"}
