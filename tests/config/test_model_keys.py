"""The keys of models and of the start: what is refused in one line, and that `from` is `from` wherever it stands."""

from __future__ import annotations

from typing import Any

import pytest

from walkers_dist.config.changes import apply_change, may_resume_with
from walkers_dist.config.errors import UserError
from walkers_dist.config.json_schema import schema
from walkers_dist.config.load import dump, parse
from walkers_dist.config.merge import get, merged
from walkers_dist.config.schema import Experiment
from walkers_dist.config.text import parse as yaml


def made(*overrides: str, **keys: Any) -> Experiment:
    return parse(merged({"landscape": {"kind": "network"}, **keys}, overrides), "test")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        # E.1, row model: the original leaves the model nil
        ("landscape.model.name=nn", "landscape.model.name = nn: must be mlp, lenet, nin or an import path "
         "module:attribute; did you mean nin?"),
        ("landscape.model.name=hinton", "landscape.model.name = hinton: must be mlp, lenet, nin or an import path "
         "module:attribute"),
        ("landscape.model=lenet", "landscape.model = lenet: must be a mapping"),
        ("landscape.model={name: lenet, hidden: [3]}", "unknown key landscape.model.hidden; known in landscape.model: "
         "name, kernel, padding"),
        ("landscape.model={name: lenet, kernel: 0}", "landscape.model.kernel = 0: must be at least 1"),
        ("landscape.model={name: lenet, kernel: 2.5}", "landscape.model.kernel = 2.5: must be an integer "
         "of at least 1"),
        ("landscape.model={name: lenet, padding: -1}", "landscape.model.padding = -1: must be at least 0"),
        ("landscape.model={name: lenet, padding: 5}", "landscape.model: padding = 5 must be less than kernel = 5"),
        ("landscape.model={name: nin, channels: []}", "landscape.model.channels = []: must hold a width for each "
         "block, and there is one at least"),
        ("landscape.model={name: nin, channels: 32}", "landscape.model.channels = 32: must be a list, each entry an "
         "integer of at least 1"),
        ("landscape.model={name: nin, channels: [32, 0]}", "landscape.model.channels.1 = 0: must be at least 1"),
        ("landscape.model={name: nin, kernel: 4}", "landscape.model.kernel = 4: must be an odd number of at least 1, "
         "so that maps keep their size"),
        ("landscape.model={name: nin, kernel: -1}", "landscape.model.kernel = -1: must be an odd number of at least 1, "
         "so that maps keep their size"),
        ("landscape.model={name: nin, kernel: x}", "landscape.model.kernel = x: must be an integer"),
        ("landscape.init.from=3", "landscape.init.from = 3: must be text or null"),
        ("landscape.init.from_=a", "unknown key landscape.init.from_; did you mean landscape.init.from?"),
        ("landscape.init={from: a, same: false}", "landscape.init: same must be true where from = a says where all "
         "walkers start"),
        ("landscape.init={from: a, std: 0.1}", "landscape.init: std must be null where from = a says where all walkers "
         "start"),
        ("landscape={kind: quadratic, init: {from: a}}", "unknown key landscape.init; known in landscape: kind, dim, "
         "curvature, optima, start, center_start, noise"),
    ],
)  # fmt: skip
def test_refused(override: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        made(override)
    assert str(caught.value) == line


def test_defaults_and_what_another_name_keeps() -> None:
    lenet = made("landscape.model.name=lenet").landscape.model
    assert lenet.model_dump() == {"name": "lenet", "kernel": 5, "padding": 0}
    nin = made("landscape.model={name: lenet, kernel: 3, padding: 1}", "landscape.model.name=nin").landscape.model
    assert nin.model_dump() == {"name": "nin", "channels": (32, 32, 32), "kernel": 3}


def test_from_is_from_wherever_it_is_written() -> None:
    experiment = made("landscape.init.from=runs/a@100/center")
    assert experiment.landscape.init.from_ == "runs/a@100/center"
    assert get(experiment.model_dump(), "landscape.init.from") == "runs/a@100/center"
    text = dump(experiment)
    assert "from: runs/a@100/center" in text and "from_" not in text
    written = yaml(text)
    assert isinstance(written, dict)
    assert parse(written, "other") == experiment
    assert parse(merged(written, ["landscape.init.from=null"]), "other").landscape.init.from_ is None
    changed = apply_change(experiment, "dynamics.lr", 0.01)  # goes by way of a dump
    assert changed.landscape == experiment.landscape
    assert not may_resume_with(experiment, "landscape.init.from")
    assert '"from"' in repr(schema()).replace("'", '"') and "from_" not in repr(schema())
