"""Every wrong input ends in one line that names the key or the file, the value and what is allowed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from walkers_dist.config.errors import UserError
from walkers_dist.config.load import load

GOOD = """
name: good
walkers: 4
landscape: {kind: network, data: {name: digits, train_size: 1000}, model: {name: mlp, hidden: [30, 30]}}
dynamics: {name: sgd, lr: 0.1, momentum: 0.5, batch_size: 100}
coupling: {name: easgd, alpha: 0.1, period: 4}
schedule:
  - {at: 500, set: {dynamics.lr: 0.01}}
probes: {distances: {every: 10}}
curvature: {every: 200, of: [center]}
"""

LIVE_ONLY = (
    "cannot change while running; what can: steps, log, snapshots, probes, curvature, stop, "
    "and the numbers in dynamics and coupling but batch_size"
)
KEYS = (
    "name, seed, threads, device, dtype, landscape, walkers, walkers_per_process, analysts, steps, dynamics, coupling, "
    "exchange, schedule, stop, log, snapshots, checkpoint, probes, curvature, control, at_end"
)
KINDS = "walkers_dist.config.kinds"
DYNAMICS = "sgd, gd, lbfgs, nesterov, asgd, mvasgd, entropy_sgd, adamw"


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load(path, overrides)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    load(file)
    return file


@pytest.mark.parametrize(
    ("override", "line"),
    [
        # unknown keys
        ("dynamics.lrr=1", "unknown key dynamics.lrr; did you mean dynamics.lr?"),
        ("landscape.modle.hidden=[3]", "unknown key landscape.modle; did you mean landscape.model?"),
        ("landscape.model.hiden=[3]", "unknown key landscape.model.hiden; did you mean landscape.model.hidden?"),
        (
            "exchange.timeouts.silense=3",
            "unknown key exchange.timeouts.silense; did you mean exchange.timeouts.silence?",
        ),
        ("walker=3", "unknown key walker; did you mean walkers?"),
        ("lr=3", "unknown key lr; did you mean dynamics.lr?"),
        ("dynamics.lr.x=3", "unknown key dynamics.lr.x; dynamics.lr is a value and has no keys"),
        ("coupling.mass=3", "unknown key coupling.mass; known in coupling: name, period, alpha, beta, order"),
        (
            "probes.distances.name=distances",
            "unknown key probes.distances.name; known in probes.distances: every, pairs",
        ),
        ("schedule.4.at=3", "unknown key schedule.4; entries of schedule, counted from 0: 1"),
        ("schedule.0.att=3", "unknown key schedule.0.att; did you mean schedule.0.at?"),
        ("zzz=3", f"unknown key zzz; known: {KEYS}"),
        # words that are no overrides
        ("steps", "steps: an override is written key=value"),
        ("=3", "=3: an override is written key=value, with a key like dynamics.lr"),
        ("a..b=3", "a..b=3: an override is written key=value, with a key like dynamics.lr"),
        ("steps=", "steps=: the value is missing; steps=null switches a section off"),
        (
            "steps=[1",
            "steps=[1: the value is not readable as YAML: line 1, column 3: "
            "expected ',' or ']', but got '<stream end>'",
        ),
        # wrong types
        ("dynamics.lr=true", "dynamics.lr = true: must be a number greater than 0"),
        ("dynamics.lr='0.1'", "dynamics.lr = 0.1: must be a number greater than 0"),
        ("dynamics.lr=null", "dynamics.lr = null: must be a number greater than 0"),
        ("steps=1.5", "steps = 1.5: must be an integer of at least 0"),
        ("walkers=true", "walkers = true: must be an integer of at least 1"),
        ("name=5", "name = 5: must be text"),
        ("log=null", "log = null: must be a mapping (every)"),
        ("checkpoint=3", "checkpoint = 3: must be a mapping (every, keep) or null"),
        ("dynamics=null", "dynamics = null: must be a mapping"),
        ("schedule=5", "schedule = 5: must be a list, each entry a mapping (at, set)"),
        ("schedule=[{at: 3}]", "schedule.0.set is missing: must be a mapping that is not empty"),
        ("landscape.model.hidden=3", "landscape.model.hidden = 3: must be a list, each entry an integer of at least 1"),
        ("landscape.model.hidden=[3, x]", "landscape.model.hidden.1 = x: must be an integer of at least 1"),
        ("landscape.init.same=1", "landscape.init.same = 1: must be true or false"),
        (
            "landscape={kind: quadratic, start: x}",
            "landscape.start = x: must be a number or a list, each entry a number",
        ),
        # impossible values
        ("dynamics.lr=-1", "dynamics.lr = -1: must be greater than 0"),
        ("dynamics.lr=0", "dynamics.lr = 0: must be greater than 0"),
        ("dynamics.lr=.nan", "dynamics.lr = .nan: must be a number greater than 0"),
        ("dynamics.lr=.inf", "dynamics.lr = .inf: must be a number greater than 0"),
        ("dynamics.momentum=1", "dynamics.momentum = 1: must be at least 0 and less than 1"),
        ("dynamics={nesterov: true, momentum: 0}", "dynamics: nesterov needs momentum above 0 and dampening 0"),
        ("coupling.alpha=1.5", "coupling.alpha = 1.5: must be greater than -1 and less than 1"),
        ("coupling.alpha=-1", "coupling.alpha = -1: must be greater than -1 and less than 1"),
        ("coupling.alpha=.nan", "coupling.alpha = .nan: must be a number greater than -1 and less than 1"),
        ("coupling.period=0", "coupling.period = 0: must be at least 1"),
        ("log.every=0", "log.every = 0: must be at least 1"),
        ("control.every=0", "control.every = 0: must be at least 1"),
        ("curvature.every=0", "curvature.every = 0: must be at least 1"),
        ("probes.distances.every=0", "probes.distances.every = 0: must be at least 1"),
        ("walkers_per_process=0", "walkers_per_process = 0: must be an integer of at least 1 or auto"),
        ("device=gpu", "device = gpu: must be auto, cpu or cuda"),
        ("name=a/b", "name = a/b: must be the start of a folder's name, at most 100 characters and no /"),
        ("name=..", "name = ..: must be the start of a folder's name, at most 100 characters and no /"),
        ("exchange.timeouts.silence=0", "exchange.timeouts.silence = 0: must be greater than 0"),
        # keys that do not fit together
        ("dynamics.batch_size=1001", "dynamics.batch_size = 1001: must be at most landscape.data.train_size = 1000"),
        (
            "landscape.data.train_size=1797",
            "landscape.data.train_size = 1797: must be an integer of at least 1 and at most 1796 or null",
        ),
        (
            "landscape.data.test_size=798",
            "landscape.data: train_size = 1000 and test_size = 798 must be together at most 1797",
        ),
        ("snapshots=null", "snapshots = null: must be on where curvature.every = 200 needs snapshots"),
        ("curvature.of=[w9]", "curvature.of = w9: must be of center, w0, w1, w2, w3"),
        ("curvature={of: [w0, w0]}", "curvature.of = [w0, w0]: must hold each name once"),
        (
            "landscape={kind: quadratic, optima: [1, 2]}",
            "landscape.optima = [1.0, 2.0]: must be one number, or one for each of walkers = 4",
        ),
        (
            "landscape={kind: quadratic, dim: 2, curvature: [1]}",
            "landscape: curvature must be one number, or one for each of dim = 2 coordinates",
        ),
        # schedule
        ("schedule=[{at: 3, set: {dynamics.lr: -1}}]", "schedule.0: dynamics.lr = -1: must be greater than 0"),
        (
            "schedule=[{at: 3, set: {dynamics.lrr: 1}}]",
            "schedule.0: unknown key dynamics.lrr; did you mean dynamics.lr?",
        ),
        ("schedule=[{at: 3, set: {seed: 3}}]", f"schedule.0: seed = 3: {LIVE_ONLY}"),
        ("schedule=[{at: 3, set: {dynamics.batch_size: 3}}]", f"schedule.0: dynamics.batch_size = 3: {LIVE_ONLY}"),
        ("schedule=[{at: 3, set: {dynamics.name: gd}}]", f"schedule.0: dynamics.name = gd: {LIVE_ONLY}"),
        ("schedule=[{at: 9, set: {steps: 5}}]", "schedule.0: steps = 5: must be at least at = 9"),
        ("schedule=[{at: 3, set: {}}]", "schedule.0.set = {}: must be a mapping that is not empty"),
        (
            "schedule=[{at: 9, set: {dynamics.nesterov: true}}]",
            f"schedule.0: dynamics.nesterov = true: {LIVE_ONLY}",
        ),
        # names of kinds
        (
            "dynamics.name=gdd",
            f"dynamics.name = gdd: must be {DYNAMICS} or an import path module:attribute; did you mean gd?",
        ),
        ("dynamics.name=5", f"dynamics.name = 5: must be {DYNAMICS} or an import path"),
        (
            "landscape.loss=focal",
            "landscape.loss = focal: must be cross_entropy, squared_error or an import path module:attribute",
        ),
        ("dynamics.name=no_such:X", "dynamics.name = no_such:X: there is no module no_such"),
        ("coupling.name=json:X", "coupling.name = json:X: module json has no X"),
        ("coupling.name=json:loads", f"coupling.name = json:loads: must be a class derived from {KINDS}.Coupling"),
        (
            "coupling.name=walkers_dist.dynamics.sgd:SGD",
            f"coupling.name = walkers_dist.dynamics.sgd:SGD: must be a class derived from {KINDS}.Coupling",
        ),
        (
            f"coupling.name={KINDS}:Coupling",
            f"coupling.name = {KINDS}:Coupling: the class leaves events undefined",
        ),
        ("landscape.data.name=no_such:load", "landscape.data.name = no_such:load: there is no module no_such"),
        ("landscape.model.name=no.such:Net", "landscape.model.name = no.such:Net: there is no module no.such"),
        ("landscape.loss=no_such:focal", "landscape.loss = no_such:focal: there is no module no_such"),
        ("landscape.kind=no_such:f", "landscape.kind = no_such:f: there is no module no_such"),
        ("landscape.kind='json:'", "landscape.kind = json:: an import path is written package.module:attribute"),
    ],
)
def test_override(good: Path, override: str, line: str) -> None:
    assert refused(good, override) == line


def test_center_of_a_solo_run(good: Path) -> None:
    solo = ["walkers=1", "coupling=null"]
    assert refused(good, *solo) == "curvature.of = center: must be of w0"
    line = "stop.of = center: there is no center with walkers = 1 and no coupling"
    assert refused(good, *solo, "curvature=null", "stop={of: center}") == line


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "the file is empty"),
        (b"# nothing but a comment\n", "the file is empty"),
        (b"- 1\n- 2\n", "must be a mapping of keys to values, is [1, 2]"),
        (b"hello", "must be a mapping of keys to values, is hello"),
        (b"a: [1", "line 1, column 6: expected ',' or ']', but got '<stream end>'"),
        (b"a: 1\n b: 2\n", "line 2, column 3: mapping values are not allowed here"),
        (b"steps: 1\nsteps: 2\n", "line 2, column 1: the key steps comes twice"),
        (b"a: 1\n---\nb: 2\n", "line 2, column 1: but found another document"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "not a text file, YAML in UTF-8 is expected"),
        (b"steps: 1\x00\x01", "not a text file, it holds control characters"),
    ],
)
def test_file(tmp_path: Path, content: bytes, line: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    assert refused(file) == f"{file}: {line}"


def test_no_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.yaml") == f"{tmp_path}/none.yaml: No such file or directory"
    assert refused(tmp_path) == f"{tmp_path}: Is a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file(good: Path) -> None:
    good.chmod(0)
    assert refused(good) == f"{good}: Permission denied"


def test_a_users_module_that_fails(good: Path) -> None:
    (good.parent / "fails_itself.py").write_text("import json\nraise OSError('no\\nlicence')\n")
    (good.parent / "needs_more.py").write_text("import no_such_module\n")
    start = "coupling.name ="
    line = f"{start} fails_itself:X: fails_itself cannot be imported: OSError: no licence"
    assert refused(good, "coupling.name=fails_itself:X") == line
    line = f"{start} needs_more:X: needs_more cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"
    assert refused(good, "coupling.name=needs_more:X") == line
