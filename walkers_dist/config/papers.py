"""Which papers stand behind a kind: keys of the entries in `papers.bib`; adding a kind is a line here too.

A line `KIND`, and for what only some of its configurations use, a line `KIND KEY` (where that key is on: neither null,
nor 0, nor false) or `KIND KEY=VALUE` (where it is that, or holds it). No keys: there is no paper to cite.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from walkers_dist.config.schema import Experiment, NetworkConfig

PACKAGE = "walkers_dist"
"""The entry of this package itself."""
PAPERS: dict[str, dict[str, tuple[str, ...]]] = {
    "dynamics": {
        "sgd": ("robbins1951stochastic",),
        "sgd momentum": ("sutskever2013importance",),
        "gd": (),
        "gd momentum": ("sutskever2013importance",),
        "lbfgs": ("nocedal1980updating",),
        "nesterov": ("nesterov1983method", "sutskever2013importance"),
        "asgd": ("polyak1992acceleration",),
        "mvasgd": ("zhang2015deep",),
        "entropy_sgd": ("chaudhari2017entropy",),
        "adamw": ("loshchilov2019decoupled",),
    },
    "coupling": {
        "none": (),
        "none center=gd": ("sagun_walkers",),
        "easgd": ("zhang2015deep",),
        "easgd order=center_last": ("zhang2016distributed",),
        "elementary": ("sagun_walkers",),
        "downpour": ("dean2012large",),
        "adownpour": ("dean2012large", "zhang2015deep"),
        "mvadownpour": ("dean2012large", "zhang2015deep"),
        "mdownpour": ("dean2012large", "zhang2015deep"),
        "replicated": ("baldassi2016unreasonable", "pittorino2021entropic"),
        "parle": ("chaudhari2017parle",),
        "diloco": ("douillard2023diloco", "stich2019local"),
        "tree": ("zhang2016distributed",),
    },
    "landscape": {"network": (), "quadratic": (), "multiplicative": ("zhang2016distributed",)},
    "data": {
        "digits": ("alpaydin1998digits",),
        "mnist": ("lecun1998gradient",),
        "fashion_mnist": ("xiao2017fashion",),
        "cifar10": ("krizhevsky2009learning",),
        "clusters": (),
        "random": (),
    },
    "model": {"mlp": (), "lenet": ("lecun1998gradient",), "nin": ("lin2014network",)},
    "loss": {"cross_entropy": (), "squared_error": ()},
    "probe": {
        "distances": (),
        "interpolation": ("goodfellow2015qualitatively",),
        "plane": ("li2018visualizing",),
        "walk": ("sagun_walkers",),
        "sharpness": (),
        "sharpness formula=original": ("sagun_walkers",),
        "sharpness formula=keskar": ("keskar2017large",),
        "average": (),
        "average kinds=uniform": ("wortsman2022model",),
        "average kinds=greedy": ("wortsman2022model",),
    },
    "curvature": {
        "curvature": ("sagun2016eigenvalues", "sagun2017empirical", "pearlmutter1994fast"),
        "curvature matrix=ggn": ("schraudolph2002fast",),
        "curvature matrix=residual": ("schraudolph2002fast",),
        "curvature top": ("wu2000thick",),
        "curvature bottom": ("wu2000thick",),
        "curvature density": ("lin2016approximating", "ubaru2017fast", "meyer2021hutchpp"),
        "curvature vectors": ("gurari2018gradient",),
    },
}


@cache
def entries() -> dict[str, str]:
    """Key -> entry of `papers.bib`, as it stands there."""
    found = Path(__file__).with_name("papers.bib").read_text(encoding="utf-8").strip().split("\n\n")
    return {re.match(r"@\w+\{([^,]+),", entry)[1]: entry for entry in found}  # type: ignore[index]


def parts(experiment: Experiment) -> Iterator[tuple[str, str, BaseModel | None]]:
    """(category, kind, its keys) of all that an experiment is made of; a kind with a colon is the user's own."""
    yield "dynamics", experiment.dynamics.name, experiment.dynamics
    yield "coupling", experiment.coupling.name, experiment.coupling
    landscape = experiment.landscape
    yield "landscape", landscape.kind, landscape
    if isinstance(landscape, NetworkConfig):
        yield "data", landscape.data.name, landscape.data
        yield "model", landscape.model.name, landscape.model
        yield "loss", landscape.loss, None
    for name, probe in experiment.probes or ():
        if probe is not None:
            yield "probe", name, probe
    if experiment.curvature:
        yield "curvature", "curvature", experiment.curvature


def papers_of(category: str, kind: str, keys: BaseModel | None) -> list[str]:
    """Keys of the entries behind one built-in kind with these keys."""
    lines = PAPERS[category].items()
    return [key for line, cited in lines if line.split()[0] == kind and _holds(line, keys) for key in cited]


def _holds(line: str, keys: BaseModel | None) -> bool:
    _, _, condition = line.partition(" ")
    if not condition or keys is None:
        return not condition
    name, _, value = condition.partition("=")
    found = keys.model_dump()[name]
    if not value:
        return bool(found)
    return value in found if isinstance(found, tuple) else value == found
