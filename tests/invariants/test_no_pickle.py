"""Invariant 6: nothing is unpickled from disk or network, and nothing that is read is run as code."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed
import yaml
from safetensors import safe_open

import walkers_dist as wd

PACKAGE = Path(wd.__file__).parent
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"}
CALLS = {"eval", "exec", "compile", "__import__"}
MEMBERS = {
    "torch": {"load", "save", "package", "hub"},
    "np": {"load"},
    "numpy": {"load"},
    "pd": {"read_pickle"},
    "yaml": {"full_load", "full_load_all", "unsafe_load", "unsafe_load_all", "load_all"},
    "multiprocessing": {"Pipe", "Queue", "SimpleQueue", "JoinableQueue", "Manager", "Pool"},
}
OBJECT_COLLECTIVES = {name for name in dir(torch.distributed) if "_object" in name}


def forbidden_in(source: str, names: dict[str, object]) -> list[str]:
    """What a module may not say; `names` are those it has, to know a safe YAML loader by."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            root = (node.module or "").split(".")[0]
            members = MEMBERS.get(root, set())
            found += [f"from {node.module}" for _ in [0] if root in MODULES]
            found += [a.name for a in node.names if a.name in members | OBJECT_COLLECTIVES]
        elif isinstance(node, ast.Name) and node.id in CALLS:
            found.append(node.id)
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in MEMBERS.get(owner, ()) or node.attr in OBJECT_COLLECTIVES:
                found.append(f"{owner}.{node.attr}")
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only"):
            found.append(node.arg)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "yaml.load":
            loaders = [*node.args[1:], *(k.value for k in node.keywords)]
            if not (loaders and is_safe(names.get(ast.unparse(loaders[0])))):
                found.append("yaml.load without a safe loader")
    return found


def is_safe(loader: object) -> bool:
    return isinstance(loader, type) and issubclass(loader, yaml.SafeLoader)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_says_it(path):
    source = path.read_text(encoding="utf-8")
    dotted = ".".join(("walkers_dist", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    names = vars(importlib.import_module(dotted)) if "yaml.load" in source else {}
    assert forbidden_in(source, names) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as json",
        "from pickle import loads",
        "from torch import load",
        "x = torch.load(path)",
        "x = torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=True)",
        "dist.broadcast_object_list(x)",
        "torch.distributed.all_gather_object(x, y)",
        "from torch.distributed import gather_object",
        "work = eval",
        "exec(text)",
        "yaml.load(text)",
        "yaml.load(text, yaml.Loader)",
        "yaml.load(text, Loader=Unsafe)",
        "yaml.unsafe_load(text)",
        "q = multiprocessing.Queue()",
    ],
)
def test_the_rule_sees_it(source):
    assert len(OBJECT_COLLECTIVES) >= 6
    assert forbidden_in(source, {"Unsafe": yaml.UnsafeLoader})


def test_the_rule_allows_what_is_safe():
    class Loader(yaml.SafeLoader):
        pass

    assert forbidden_in("yaml.load(text, Loader); json.load(file); re.compile(x)", {"Loader": Loader}) == []


WATCHED = """
import pickle, sys
import walkers_dist as wd
from walkers_dist.roles import in_process  # what importing torch does is torch's affair

def refuse(*_, **__):
    raise AssertionError("something was unpickled")

def hear(event, arguments):
    if event == "pickle.find_class":
        refuse()

pickle.load = pickle.loads = refuse
sys.addaudithook(hear)
run = wd.run(sys.argv[1], ["steps=40"], run_dir=sys.argv[2], report=False)
run = wd.resume(run, ["steps=60"], report=False)
assert run.status == "done" and len(run.eigenvalues) and run.snapshot(60, "w1").sum() and len(run.results)
"""


def test_no_run_and_no_resume_does_it(tools, tmp_path):
    """And what they write is plain text or safetensors."""
    config, run = tmp_path / "experiment.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump({**tools.DIGITS, "schedule": []}))
    ended = subprocess.run([sys.executable, "-c", WATCHED, config, run], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    files = [path for path in run.rglob("*") if path.is_file()]
    tensors = [path for path in files if path.suffix == ".safetensors"]
    assert len(tensors) > 4
    for path in tensors:
        with safe_open(path, framework="pt") as file:
            assert all(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    for path in set(files) - set(tensors):
        assert path.read_text(encoding="utf-8").isprintable() or path.suffix in (".csv", ".json", ".jsonl", ".yaml")
