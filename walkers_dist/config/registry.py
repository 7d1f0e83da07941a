"""Which name stands for which object: adding a kind is a new file and one line here; a name with a colon is a path."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from walkers_dist.config.errors import UserError

KINDS: dict[str, dict[str, str]] = {
    "dynamics": {
        "sgd": "walkers_dist.dynamics.sgd:SGD",
        "gd": "walkers_dist.dynamics.gd:GD",
        "lbfgs": "walkers_dist.dynamics.lbfgs:LBFGS",
        "nesterov": "walkers_dist.dynamics.nesterov:Nesterov",
        "asgd": "walkers_dist.dynamics.averages:ASGD",
        "mvasgd": "walkers_dist.dynamics.averages:MVASGD",
        "entropy_sgd": "walkers_dist.dynamics.entropy_sgd:EntropySGD",
        "adamw": "walkers_dist.dynamics.adamw:AdamW",
    },
    "coupling": {
        "none": "walkers_dist.coupling.none:NoCoupling",
        "easgd": "walkers_dist.coupling.easgd:EASGD",
        "elementary": "walkers_dist.coupling.elementary:Elementary",
        "downpour": "walkers_dist.coupling.downpour:Downpour",
        "adownpour": "walkers_dist.coupling.adownpour:ADownpour",
        "mvadownpour": "walkers_dist.coupling.adownpour:MVADownpour",
        "mdownpour": "walkers_dist.coupling.mdownpour:MDownpour",
        "replicated": "walkers_dist.coupling.replicated:Replicated",
        "parle": "walkers_dist.coupling.parle:Parle",
        "diloco": "walkers_dist.coupling.diloco:DiLoCo",
        "tree": "walkers_dist.coupling.tree:Tree",
    },
    "landscape": {
        "network": "walkers_dist.landscape.network:Network",
        "quadratic": "walkers_dist.landscape.quadratic:Quadratic",
        "multiplicative": "walkers_dist.landscape.multiplicative:Multiplicative",
    },
    "data": {
        "digits": "walkers_dist.landscape.data.digits:load",
        "mnist": "walkers_dist.landscape.data.idx:load",
        "fashion_mnist": "walkers_dist.landscape.data.idx:load",
        "cifar10": "walkers_dist.landscape.data.cifar:load",
        "clusters": "walkers_dist.landscape.data.synthetic:clusters",
        "random": "walkers_dist.landscape.data.synthetic:noise",
    },
    "model": {
        "mlp": "walkers_dist.landscape.mlp:MLP",
        "lenet": "walkers_dist.landscape.lenet:LeNet",
        "nin": "walkers_dist.landscape.nin:NiN",
    },
    "loss": {
        "cross_entropy": "walkers_dist.landscape.losses:CrossEntropy",
        "squared_error": "walkers_dist.landscape.losses:SquaredError",
    },
    "probe": {
        "distances": "walkers_dist.probes.distances:Distances",
        "interpolation": "walkers_dist.probes.interpolation:Interpolation",
        "plane": "walkers_dist.probes.plane:Plane",
        "walk": "walkers_dist.probes.walk:Walk",
        "sharpness": "walkers_dist.probes.sharpness:Sharpness",
        "average": "walkers_dist.probes.average:Average",
    },
}


def lookup(category: str, name: str) -> Any:
    """The object that `name` stands for in `category`, imported. Raises UserError, starting with the name."""
    module, attribute = _split(path_of(category, name))
    try:
        loaded = import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise UserError(f"{name}: there is no module {error.name}") from None
        raise UserError(f"{name}: {module} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(loaded, attribute):
        raise UserError(f"{name}: module {module} has no {attribute}")
    return getattr(loaded, attribute)


def path_of(category: str, name: str) -> str:
    """The import path `module:attribute` behind a name; a name with a colon is one already."""
    if ":" in name:
        return name
    known = KINDS[category]
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{name}: must be {', '.join(known)} or an import path module:attribute{hint}")
    return known[name]


def check_importable(path: str) -> None:
    """Find the module of `module:attribute` without running it. Raises UserError, starting with the path."""
    module, _ = _split(path)
    try:
        spec = find_spec(module)
    except Exception:  # a package above it is missing, or fails by itself
        spec = None
    if spec is None:
        raise UserError(f"{path}: there is no module {module}")


def make_importable(folder: Path) -> None:
    """Let modules in `folder` be found, after everything that is installed."""
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))


def _split(path: str) -> tuple[str, str]:
    module, _, attribute = path.partition(":")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"{path}: an import path is written package.module:attribute")
    return module, attribute
