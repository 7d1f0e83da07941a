"""Walkers on the loss surface of a neural network, tied by elastic forces, and the surface measured around them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from walkers_dist import curvature as curvature
    from walkers_dist.api.analyzing import analyze as analyze
    from walkers_dist.api.bare import Analysis as Analysis
    from walkers_dist.api.bare import analyze_model as analyze_model
    from walkers_dist.api.citing import cite as cite
    from walkers_dist.api.forking import fork as fork
    from walkers_dist.api.forking import midpoint as midpoint
    from walkers_dist.api.opened import Run as Run
    from walkers_dist.api.opened import Runs as Runs
    from walkers_dist.api.opened import open_run as open_run
    from walkers_dist.api.opened import runs as runs
    from walkers_dist.api.probing import probe as probe
    from walkers_dist.api.running import resume as resume
    from walkers_dist.api.running import run as run
    from walkers_dist.config.errors import RunFailed as RunFailed
    from walkers_dist.config.errors import UserError as UserError
    from walkers_dist.landscape.base import Landscape as Landscape

_HOME = {
    "run": "walkers_dist.api.running",
    "resume": "walkers_dist.api.running",
    "probe": "walkers_dist.api.probing",
    "analyze": "walkers_dist.api.analyzing",
    "analyze_model": "walkers_dist.api.bare",
    "Analysis": "walkers_dist.api.bare",
    "cite": "walkers_dist.api.citing",
    "fork": "walkers_dist.api.forking",
    "midpoint": "walkers_dist.api.forking",
    "open_run": "walkers_dist.api.opened",
    "runs": "walkers_dist.api.opened",
    "Run": "walkers_dist.api.opened",
    "Runs": "walkers_dist.api.opened",
    "Landscape": "walkers_dist.landscape.base",
    "UserError": "walkers_dist.config.errors",
    "RunFailed": "walkers_dist.config.errors",
}

__all__ = [*_HOME, "curvature"]


def __getattr__(name: str) -> object:
    """Load what is asked for, and torch with it, only then: the command's help must be instant."""
    if name == "curvature":
        return import_module("walkers_dist.curvature")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
