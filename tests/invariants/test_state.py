"""Every stateful object is rebuilt from its state in the midst of a run, and goes on with equal bits."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from walkers_dist.config.course import Change, Course, History
from walkers_dist.config.load import parse
from walkers_dist.distributed.channel import LocalChannel
from walkers_dist.distributed.exchange import LocalExchange
from walkers_dist.landscape import build
from walkers_dist.records.checkpoints import checkpoint_parts, open_checkpoint, write_checkpoint
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.roles.walkers import Walkers

STEPS = 24
NAMES = ["w0", "w1", "w2", "w3"]
LANDSCAPE = {
    "kind": "network",
    "data": {"name": "digits", "train_size": 60, "test_size": 10},
    "model": {"name": "mlp", "hidden": [3], "activation": "tanh"},
    "init": {"same": False},
}
DYNAMICS = {
    "plain": {"name": "sgd", "batch_size": 20},
    "momentum": {"name": "sgd", "batch_size": 20, "momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"name": "sgd", "batch_size": 20, "momentum": 0.9, "nesterov": True},
    "dampening": {"name": "sgd", "batch_size": 20, "momentum": 0.9, "dampening": 0.3},
    "output_bias": {"name": "sgd", "batch_size": 20, "momentum": 0.9, "output_bias_lr_scale": 0.1},
    "lbfgs": {"name": "lbfgs", "lr": 0.3, "history": 3},
    "gd": {"name": "gd"},
    "look-ahead": {"name": "nesterov", "batch_size": 20},
    "entropy_sgd": {"name": "entropy_sgd", "batch_size": 20, "inner_steps": 4, "noise": 0.01},
    "adamw": {"name": "adamw", "batch_size": 20, "clip": 0.5},
}
COUPLINGS = {
    "none": None,
    "gd_reference": {"name": "none", "center": "gd"},
    "simultaneous": {"name": "easgd", "period": 3},
    "gradient_first": {"name": "easgd", "period": 3, "order": "gradient_first"},
    "center_last": {"name": "easgd", "period": 3, "order": "center_last"},
    "elementary": {"name": "elementary", "period": 3},
    "remembering": {"name": "remembering:Remembering", "period": 3},
    "downpour": {"name": "downpour", "period": 3},
    "replicated": {"name": "replicated", "g": "auto", "period": 2, "scoping": {"rate": -0.2}},
    "explicit": {"name": "replicated", "g": 0.01, "traced": False},
    "parle": {"name": "parle", "period": 4, "gamma": 2.0, "decay": 0.1},
    "parle mpi": {"name": "parle", "period": 4, "outer_lr": 0.01, "variant": "mpi"},
    "diloco": {"name": "diloco", "period": 4},
    "tree": {"name": "tree", "period": 2, "slow_period": 4},
    "short tree": {"name": "tree", "degrees": [4]},
}


def experiment_with(dynamics, coupling):
    keys = {"landscape": LANDSCAPE, "dtype": "float64", "walkers": 4, "steps": STEPS}
    return parse({**keys, "dynamics": DYNAMICS[dynamics], "coupling": COUPLINGS[coupling]}, "state")


class Shared:
    """An exchange between walkers in threads: `all_reduce` with the sum in the order of the places."""

    def __init__(self, place, places, barrier, parts):
        self.place, self.places, self._barrier, self._parts = place, places, barrier, parts

    @classmethod
    def between(cls, places):
        barrier, parts = threading.Barrier(places), [None] * places
        return [cls(place, places, barrier, parts) for place in range(places)]

    def start(self, flat):
        self._flat, self._parts[self.place] = flat, flat.clone()

    def finish(self):
        self._barrier.wait(60)
        total = sum(self._parts[1:], self._parts[0].clone())
        self._barrier.wait(60)
        self._flat.copy_(total)


@pytest.fixture
def crew(tmp_path, remembering):
    torch.set_num_threads(1)
    landscape = build(experiment_with("plain", "none").landscape, dtype="float64")

    def make(experiment, splits):
        """Fresh walkers of these processes, whose center is at the mean of all."""
        exchanges = Shared.between(len(splits)) if len(splits) > 1 else [LocalExchange()]
        made = []
        for number, (names, exchange) in enumerate(zip(splits, exchanges, strict=True)):
            made.append(
                Walkers(
                    process=f"walkers {number}",
                    names=names,
                    run=RunDirectory(tmp_path),
                    course=Course(experiment),
                    landscape=landscape,
                    exchange=exchange,
                    link=None,
                    channel=LocalChannel(),
                )
            )
            made[-1].c.copy_(sum(landscape.start(name) for name in NAMES) / 4)
        return made

    return make


def step(processes, t):
    with ThreadPoolExecutor(len(processes)) as pool:
        list(pool.map(lambda walkers: walkers.step(t), processes))
    return torch.cat([walkers.X for walkers in processes]), processes[0].c.clone()


def through_a_checkpoint(old, new, run, t):
    """What `old` is at t, written and read again, is what `new` begins with."""
    parts = checkpoint_parts(run)
    parts.expect(t, [walkers.process for walkers in old])
    for walkers in old:
        state = walkers.state_dict()
        parts.add(t, walkers.process, write_checkpoint(run, t, walkers.process, state), list(state))
    for walkers in new:
        walkers.resume(open_checkpoint(run, t))
        walkers.c.copy_(old[0].c)  # the coordinator's part


@pytest.mark.parametrize("dynamics", DYNAMICS)
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_walkers_rebuilt_at_any_step_go_on_with_equal_bits(dynamics, coupling, crew, tmp_path):
    experiment, run = experiment_with(dynamics, coupling), RunDirectory(tmp_path)
    undisturbed = crew(experiment, [NAMES])
    course = [step(undisturbed, t) for t in range(STEPS)]
    rebuilt = crew(experiment, [NAMES])
    for t in range(STEPS):
        if t % 5 == 3:
            fresh = crew(experiment, [NAMES])
            through_a_checkpoint(rebuilt, fresh, run, t)
            rebuilt = fresh
        X, c = step(rebuilt, t)
        assert torch.equal(X, course[t][0]) and torch.equal(c, course[t][1]), t


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_other_processes_take_up_their_rows(coupling, crew, tmp_path):
    """Each time in another split: what they took up has equal bits, what they make of it is the same but for sums."""
    experiment, run = experiment_with("momentum", coupling), RunDirectory(tmp_path)
    undisturbed = crew(experiment, [NAMES])
    course = [step(undisturbed, t) for t in range(STEPS)]
    splits = {5: [NAMES[:1], NAMES[1:]], 11: [NAMES[:2], NAMES[2:3], NAMES[3:]], 17: [NAMES]}
    processes = crew(experiment, [NAMES[:2], NAMES[2:]])
    for t in range(STEPS):
        if t in splits:
            fresh = crew(experiment, splits[t])
            through_a_checkpoint(processes, fresh, run, t)
            assert_equal_states(processes, fresh)
            processes = fresh
        X, c = step(processes, t)
        torch.testing.assert_close(X, course[t][0], rtol=0, atol=1e-12)
        torch.testing.assert_close(c, course[t][1], rtol=0, atol=1e-12)


def assert_equal_states(old, new):
    one, other = ({k: v for walkers in some for k, v in walkers.state_dict().items()} for some in (old, new))
    assert one.keys() == other.keys() >= set(NAMES)
    for walker, named in one.items():
        assert named.keys() == other[walker].keys()
        for key, tensor in named.items():
            assert torch.equal(tensor, other[walker][key]), (walker, key)


@pytest.mark.parametrize("at", [0, 7, 20, 31, 40])
def test_a_course_rebuilt_at_any_step_goes_on_the_same(at):
    """From the changes made so far and those still to come by hand."""
    schedule = [{"at": 7, "set": {"log.every": 4}}, {"at": 20, "set": {"dynamics.lr": 0.3, "steps": 50}}]
    experiment = parse({"landscape": {"kind": "quadratic"}, "steps": 90, "schedule": schedule}, "course")
    given = [Change(31, "resume", "log.every", None, 7), Change(20, "live", "dynamics.lr", None, 0.4)]
    whole, made, dues = Course(experiment, History(given=tuple(given))), [], {}
    for t in range(51):
        if t == at:
            rebuilt = Course(experiment, History(at, resumed=True, made=tuple(made), given=tuple(given)))
        made += whole.advance(t)
        dues[t] = (whole.experiment, whole.due(t))
    assert whole.last == 50 and whole.experiment.dynamics.lr == 0.4
    for t in range(at, 51):
        rebuilt.advance(t)
        found = rebuilt.due(t)
        if t == at:  # this one is there
            found = type(found)(**{**vars(found), "checkpoint": dues[t][1].checkpoint})
        assert (rebuilt.experiment, found) == dues[t]
