"""What may change while running or at a resume, against DESIGN's list, key by key."""

from __future__ import annotations

import pytest

from walkers_dist.config.changes import apply_change, is_live, may_resume_with
from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.coupling.easgd import EASGD
from walkers_dist.dynamics.sgd import SGD

EXPERIMENT = parse(
    {
        "dynamics": {"name": "sgd"},
        "coupling": {"name": "easgd"},
        "curvature": {},
        "schedule": [{"at": 500, "set": {"dynamics.lr": 0.01}}],
    },
    "x",
)

CHANGEABLE = {
    "dynamics.lr": 0.5,
    "dynamics.momentum": 0.25,
    "dynamics.dampening": 0.5,
    "dynamics.weight_decay": 0.5,
    "coupling.alpha": -0.5,
    "coupling.beta": 0.5,
    "coupling.period": 5,
    "steps": 5,
    "log.every": 5,
    "snapshots.every": 5,
    "probes": {"distances": {"every": 5}},
    "probes.distances.every": 5,
    "curvature": None,
    "curvature.every": 5,
    "curvature.of": ["w1"],
    "stop": {"below": 0.5},
    "stop.below": 0.5,
}
RESUMABLE = (
    "threads",
    "device",
    "walkers_per_process",
    "analysts",
    "exchange.timeouts.silence",
    "checkpoint.keep",
    "checkpoint",
    "control.every",
    "at_end",
)
FIXED = (
    "name",
    "seed",
    "dtype",
    "walkers",
    "landscape",
    "landscape.l2",
    "schedule",
    "dynamics",
    "dynamics.name",
    "dynamics.batch_size",
    "dynamics.nesterov",
    "coupling",
    "coupling.name",
    "coupling.order",
)


@pytest.mark.parametrize("key", CHANGEABLE)
def test_live(key: str) -> None:
    assert is_live(EXPERIMENT, key) and may_resume_with(EXPERIMENT, key)
    changed = apply_change(EXPERIMENT, key, CHANGEABLE[key])
    assert changed != EXPERIMENT
    section = key.partition(".")[0]
    rest = set(type(changed).model_fields) - {section}
    assert changed.model_dump(include=rest) == EXPERIMENT.model_dump(include=rest)


@pytest.mark.parametrize("key", RESUMABLE + FIXED)
def test_not_live(key: str) -> None:
    assert not is_live(EXPERIMENT, key)
    assert may_resume_with(EXPERIMENT, key) == (key in RESUMABLE)
    with pytest.raises(UserError, match=f"^{key} = 1: cannot change while running"):
        apply_change(EXPERIMENT, key, 1)


def test_the_value_arrives() -> None:
    changed = apply_change(apply_change(EXPERIMENT, "dynamics.lr", 0.25), "coupling.period", 7)
    assert changed.dynamics == SGD(lr=0.25)
    assert changed.coupling == EASGD(period=7)
    assert EXPERIMENT.dynamics == SGD()


def test_values_are_checked() -> None:
    with pytest.raises(UserError, match=r"^dynamics.lr = -1: must be greater than 0$"):
        apply_change(EXPERIMENT, "dynamics.lr", -1)
    with pytest.raises(UserError, match=r"^unknown key dynamics.lrr; did you mean dynamics.lr\?$"):
        apply_change(EXPERIMENT, "dynamics.lrr", 1)
    with pytest.raises(UserError, match=r"^snapshots = null: must be on where curvature.every = 100 needs snapshots$"):
        apply_change(EXPERIMENT, "snapshots", None)


def test_steps_may_end_before_a_scheduled_change() -> None:
    assert apply_change(EXPERIMENT, "steps", 100).schedule == EXPERIMENT.schedule


def test_a_schedule_is_tried_in_the_order_of_its_steps() -> None:
    off_first = [{"at": 5, "set": {"snapshots": None}}, {"at": 3, "set": {"curvature": None}}]
    parse({"curvature": {}, "schedule": off_first}, "x")
    with pytest.raises(UserError, match=r"^schedule.0: snapshots = null: must be on"):
        parse({"curvature": {}, "schedule": [{**off_first[0], "at": 2}, off_first[1]]}, "x")
