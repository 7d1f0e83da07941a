"""A step of many walkers in one process takes as many tensor operations as a step of two: nothing loops over rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

BOWL = {"kind": "quadratic", "dim": 5, "curvature": [1.0, 2.0, 3.0, 4.0, 5.0]}
DIGITS = {"kind": "network", "data": {"name": "digits", "train_size": 400}, "model": {"hidden": [8]}}
SGD = {"name": "sgd", "lr": 0.01, "batch_size": 10, "momentum": 0.5, "weight_decay": 0.01}
COUPLINGS = [
    *({"name": "easgd", "order": order} for order in ("simultaneous", "center_last", "gradient_first")),
    {"name": "easgd", "beta": 0.5},
    {"name": "elementary"},
    {"name": "none"},
    {"name": "none", "center": "gd"},
    {"name": "downpour"},
    {"name": "replicated", "scoping": {"rate": 0.01}},
    {"name": "replicated", "traced": False},
    {"name": "parle"},
    {"name": "parle", "variant": "mpi"},
    {"name": "diloco"},
]


class Operations(TorchDispatchMode):
    """Counts what reaches torch's dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count[str(operation)] += 1
        return operation(*args, **(kwargs or {}))


def operations_of_steps(run: Any, experiment: dict[str, Any]) -> Counter[str]:
    """Those of 20 steps between two runs of 10 and 30: no epoch begins in them, and no row is written."""
    counts = []
    for steps in (10, 30):
        with Operations() as operations:
            run({**experiment, "steps": steps, "log": {"every": 100}, "control": {"every": 100}, "snapshots": None})
        counts.append(operations.count)
    return Counter({name: n - counts[0][name] for name, n in counts[1].items() if n != counts[0][name]})


CASES = [
    *((BOWL, SGD, coupling) for coupling in COUPLINGS),
    (DIGITS, SGD, COUPLINGS[0]),
    (DIGITS, SGD, {"name": "none"}),
    (DIGITS, {"name": "gd", "lr": 0.01}, {"name": "elementary"}),
    (DIGITS, {"name": "lbfgs", "lr": 0.1}, {"name": "none"}),
    (DIGITS, {"name": "nesterov", "lr": 0.01, "batch_size": 10}, COUPLINGS[0]),
    (DIGITS, {"name": "mvasgd", "lr": 0.01, "batch_size": 10}, {"name": "none"}),
    (DIGITS, {"name": "entropy_sgd", "inner_steps": 5, "batch_size": 10}, COUPLINGS[0]),
    (DIGITS, {"name": "adamw", "clip": 1.0, "batch_size": 10}, COUPLINGS[0]),
]


@pytest.mark.parametrize(
    ("landscape", "dynamics", "coupling"),
    CASES,
    ids=lambda keys: "-".join(str(keys[key]) for key in ("kind", "name", "order", "beta") if key in keys),
)
def test_operations_do_not_grow_with_walkers(
    landscape: dict[str, Any], dynamics: dict[str, Any], coupling: dict[str, Any], run: Any
) -> None:
    experiment = {"landscape": landscape, "dynamics": dynamics, "coupling": {**coupling, "period": 2}}
    few, many = (operations_of_steps(run, {**experiment, "walkers": K}) for K in (2, 16))
    assert few == many
    assert few.total() >= 20 * 3
