"""Loading: defaults, the user's own kinds, what dumping keeps, and how little of it needs torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from walkers_dist.config import text
from walkers_dist.config.data import CustomData
from walkers_dist.config.landscape import CustomLandscape, CustomModel, NetworkConfig, QuadraticConfig
from walkers_dist.config.load import dump, load, parse
from walkers_dist.coupling.easgd import EASGD
from walkers_dist.coupling.none import NoCoupling
from walkers_dist.dynamics.gd import GD
from walkers_dist.dynamics.sgd import SGD

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"

DEFAULTS = """
name: nothing
seed: 0
threads: 1
device: auto
dtype: float32
landscape:
  kind: network
  data:
    {name: digits, train_size: 1000, test_size: null, classes: null, normalize: train, corruption: none, labels: hard}
  model: {name: mlp, hidden: [30, 30], activation: relu}
  loss: cross_entropy
  l2: 0.0
  init: {std: null, same: true, from: null}
walkers: 4
walkers_per_process: auto
analysts: 1
steps: 1000
exchange: {layout: auto, order: null, timeouts: {start: 300.0, silence: 60.0}, on_failure: stop, on_divergence: stop}
schedule: []
stop: null
log: {every: 10}
snapshots: {every: 100}
checkpoint: {every: 200, keep: 2}
probes: null
curvature: null
control: {bind: loopback, every: 10}
at_end: wait
"""


def test_defaults(tmp_path: Path) -> None:
    file = tmp_path / "nothing.yaml"
    file.write_text("{}")
    experiment = load(file)
    assert (experiment.dynamics, experiment.coupling) == (SGD(), NoCoupling())
    written = text.parse(dump(experiment))
    del written["dynamics"], written["coupling"]
    assert written == text.parse(DEFAULTS)
    assert list(written) == list(text.parse(DEFAULTS))


def test_defaults_of_sections() -> None:
    experiment = parse({"coupling": {}, "curvature": {}, "stop": {}, "probes": {"distances": {}}}, "x")
    assert experiment.coupling == EASGD()
    written = experiment.model_dump(include={"curvature", "stop", "probes"})
    assert written == {
        "curvature": {
            "every": 100,
            "of": ("center", "w0"),
            "matrix": ("hessian",),
            "lr": None,
            "top": 5,
            "bottom": 3,
            "vectors": False,
            "density": None,
            "full": "at_end",
        },
        "stop": {"metric": "train_grad_norm", "of": "mean", "below": 1e-4},
        "probes": {
            "distances": {"every": 10, "pairs": "auto"},
            **dict.fromkeys(["interpolation", "plane", "walk", "sharpness", "average"]),
        },
    }


def test_quickstart() -> None:
    experiment = load(QUICKSTART)
    assert experiment.dynamics == SGD(lr=0.1, momentum=0.5, batch_size=100)
    assert experiment.coupling == EASGD(alpha=0.1, period=4, order="simultaneous")
    assert experiment.curvature is not None and experiment.curvature.of == ("center",)
    assert load(QUICKSTART, ["steps=200"]).steps == 200  # its schedule then is never reached
    assert load(QUICKSTART, ["dynamics.name=gd"]).dynamics == GD(lr=0.1, momentum=0.5)


def test_names_and_center() -> None:
    many = parse({"walkers": 11}, "x")
    assert many.walker_names[:3] == ["w0", "w1", "w2"] and many.walker_names[-1] == "w10"
    assert many.has_center
    assert parse({"walkers": 1, "coupling": {"name": "easgd"}}, "x").has_center
    solo = parse({"walkers": 1, "coupling": None, "curvature": {}}, "x")
    assert not solo.has_center
    assert solo.curvature is not None and solo.curvature.of == ("w0",)


def test_quadratic() -> None:
    keys = {"walkers": 2, "landscape": {"kind": "quadratic", "dim": 2, "curvature": [1, 0.5], "optima": [0, 1]}}
    landscape = parse(keys, "x").landscape
    assert isinstance(landscape, QuadraticConfig)
    assert (landscape.curvature, landscape.optima, landscape.start) == ((1.0, 0.5), (0.0, 1.0), 1.0)


OWN = """
raise SystemExit("validation does not run this")
"""
OWN_COUPLING = """
from walkers_dist.config.kinds import Coupling
from walkers_dist.coupling.easgd import EASGD

class Weaker(EASGD):
    by: float = 0.5

class Own(Coupling):
    pull: float = 0.25
    def events(self, t):
        return ("gradient", "dynamics")
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own_things.py").write_text(OWN)
    (tmp_path / "own_coupling.py").write_text(OWN_COUPLING)
    file = tmp_path / "own.yaml"
    file.write_text(
        """
        landscape:
          data: {name: "own_things:load", args: {noise: 1e-3, sizes: [1, 2]}}
          model: {name: "own_things:Net", args: {width: 3}}
          loss: own_things:focal
        coupling: {name: "own_coupling:Own", pull: 1, period: 3}
        """
    )
    return file


def test_the_users_own(own: Path) -> None:
    experiment = load(own)
    assert isinstance(experiment.landscape, NetworkConfig)
    assert experiment.landscape.data == CustomData(name="own_things:load", args={"noise": 0.001, "sizes": [1, 2]})
    assert experiment.landscape.model == CustomModel(name="own_things:Net", args={"width": 3})
    assert experiment.coupling.model_dump() == {"name": "own_coupling:Own", "period": 3, "pull": 1.0}
    assert parse(text.parse(dump(experiment)), "other") == experiment


def test_a_users_child_of_a_built_in_keeps_its_own_name(own: Path) -> None:
    experiment = load(own, ["coupling={name: own_coupling:Weaker, alpha: 0.2}"])
    assert experiment.coupling.model_dump()["by"] == 0.5
    assert experiment.coupling.name == "own_coupling:Weaker"
    assert parse(text.parse(dump(experiment)), "other") == experiment


def test_own_landscape_takes_any_key(own: Path) -> None:
    experiment = load(own, ["landscape={kind: own_things:bowl, depth: 3, ends: [1, x]}"])
    assert isinstance(experiment.landscape, CustomLandscape)
    assert experiment.landscape.model_extra == {"depth": 3, "ends": [1, "x"]}
    assert parse(text.parse(dump(experiment)), "other") == experiment


def _sections() -> st.SearchStrategy[dict[str, Any]]:
    positive = st.floats(1e-12, 1e12)
    every = st.integers(1, 10**9)
    fraction = st.floats(0, 1, exclude_max=True)
    dynamics = st.fixed_dictionaries(
        {}, optional={"name": st.just("sgd"), "lr": positive | st.integers(1, 9), "momentum": fraction}
    ) | st.fixed_dictionaries({"name": st.just("gd")}, optional={"lr": positive, "weight_decay": positive})
    alpha = st.floats(-1, 1, exclude_min=True, exclude_max=True)
    coupling = st.none() | st.fixed_dictionaries(
        {"name": st.sampled_from(["easgd", "elementary"])}, optional={"alpha": alpha, "period": every}
    )
    quadratic = st.fixed_dictionaries(
        {"kind": st.just("quadratic")},
        optional={"optima": st.lists(st.floats(-9, 9), min_size=3, max_size=3) | st.integers(-9, 9), "noise": positive},
    )
    network = st.fixed_dictionaries(
        {},
        optional={
            "model": st.fixed_dictionaries({"hidden": st.lists(st.integers(1, 99), max_size=4)}),
            "data": st.fixed_dictionaries({"train_size": st.integers(100, 1796)}),
            "l2": fraction,
        },
    )
    return st.fixed_dictionaries(
        {"walkers": st.just(3)},
        optional={
            "name": st.text(
                st.characters(codec="utf-8", categories=["L", "N", "P"], exclude_characters="/."), min_size=1
            ),
            "steps": st.integers(0, 10**12),
            "dynamics": dynamics,
            "coupling": coupling,
            "landscape": quadratic | network,
            "log": st.fixed_dictionaries({"every": every}),
            "schedule": st.lists(
                st.fixed_dictionaries({"at": every, "set": st.fixed_dictionaries({"dynamics.lr": positive})})
            ),
            "probes": st.none() | st.just({}) | st.just({"distances": {"every": 3}}),
            "curvature": st.none() | st.fixed_dictionaries({"of": st.sampled_from([["w2"], ["center", "w1"]])}),
            "stop": st.none() | st.fixed_dictionaries({"below": positive}),
        },
    )


@given(_sections())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_dump_and_load_are_inverse(keys: dict[str, Any]) -> None:
    keys["name"] = keys.get("name", "x")[:100]
    experiment = parse(keys, "x")
    again = parse(text.parse(dump(experiment)), "another name")
    assert again == experiment
    assert dump(again) == dump(experiment)


def test_a_bad_configuration_is_refused_without_torch() -> None:
    code = (
        "import sys\n"
        "from walkers_dist.config.load import load\n"
        "try: load(sys.argv[1], ['dynamics.lr=-1'])\n"
        "except Exception as error: print(error)\n"
        "print(*sorted({'torch', 'numpy', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code, str(QUICKSTART)], capture_output=True, text=True, check=True)
    assert out.stdout == "dynamics.lr = -1: must be greater than 0\n\n"
