"""EASGD-Tree: the published exchange, every edge by hand in both schedules, EASGD at depth 1, what is conserved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import walkers_dist as wd
from walkers_dist.config.load import parse

NODES = '''
import torch
from walkers_dist.coupling.tree import Tree


class Started(Tree):
    """Its inner nodes start at 1, 2, …"""

    name: str = ""

    def state(self, names, P):
        inner = 1 + torch.arange(sum(self.degrees[0] ** k for k in range(1, len(self.degrees))))
        return {**super().state(names, P), "nodes": inner.double().repeat_interleave(P)}
'''


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The import path of a tree whose nodes are told apart."""
    module = f"started_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(NODES)
    monkeypatch.syspath_prepend(tmp_path)
    return f"{module}:Started"


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_published_exchange_here_and_over_gloo(rows: int, started: str, program: Any, bowl: Any, printed: Any) -> None:
    """G9, its leaves in processes of any size; the inner nodes are seen by what they do to both neighbours."""
    rule = {"name": started, "period": 1, "slow_period": 1, "degrees": [2, 2], "alpha": 0.2}
    land = {"curvature": 0.0, "start": [3.0, 4.0, 5.0, 6.0], "center_start": 0.0}
    seen = program.both(bowl(rule, steps=3, walkers_per_process=rows, **land))
    for x, digits in zip(seen.x[-1, :, 0], ["2.36", "2.872", "3.944", "4.456"], strict=True):
        assert x == printed(digits)
    assert seen.c[-1].item() == printed("1.848")


def by_hand(keys: dict[str, Any], start: Any, optima: Any, h: Any, c: float, nodes: Any, steps: int) -> Any:
    """Edge after edge: x [T, p, P] and the inner nodes and c [T, n + 1, P], c first; the root has number 0."""
    degrees, alpha, P = keys["degrees"], keys["alpha"], len(h)
    parents, level = [None], [0]
    for degree in degrees:
        level = [(parents.append(node), len(parents) - 1)[1] for node in level for _ in range(degree)]
    first = len(parents) - len(start)
    values = [np.full(P, v) for v in [c, *nodes, *start]]
    seen = [values]
    for t in range(steps):
        new = list(values)
        for i, m in enumerate(optima):
            new[first + i] = values[first + i] - 0.1 * h * (values[first + i] - m)
        fast, slow = t % keys["period"] == 0, t % keys["slow_period"] == 0
        for child in range(1, len(parents)):
            f = alpha * (values[child] - values[parents[child]])
            if keys["schedule"] == "levels":
                up = down = fast if child >= first else slow
            else:
                up, down = fast, slow
            new[child] = new[child] - f * down
            new[parents[child]] = new[parents[child]] + f * up
        values = new
        seen.append(values)
    seen = np.array(seen)
    return seen[:, first:], seen[:, :first]


@pytest.mark.parametrize("schedule", ["levels", "directions"])
@pytest.mark.parametrize("degrees", [[2, 3], [3], [1, 2, 2], [4, 1]], ids=str)
def test_every_edge_by_hand(schedule: str, degrees: list[int], program: Any, bowl: Any) -> None:
    p = int(np.prod(degrees))
    start, optima = [float(i * i % 5 - 1) for i in range(p)], [0.1 * i for i in range(p)]
    rule = {"name": "tree", "period": 2, "slow_period": 6, "degrees": degrees, "alpha": 0.15, "schedule": schedule}
    land = {"dim": 2, "curvature": [0.3, 1.0], "start": start, "optima": optima, "center_start": 0.7}
    experiment = bowl(rule, walkers=p, steps=20, walkers_per_process=p, **land)
    seen = program.here(experiment)
    inner = sum(int(np.prod(degrees[:k])) for k in range(1, len(degrees)))
    x, nodes = by_hand(rule, start, optima, np.array([0.3, 1.0]), 0.7, [0.7] * inner, 20)
    np.testing.assert_allclose(seen.x, x, rtol=0, atol=1e-13)
    np.testing.assert_allclose(seen.c, nodes[:, 0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("schedule", ["levels", "directions"])
def test_branches_that_processes_cut_through(schedule: str, program: Any, bowl: Any) -> None:
    """Six leaves of two nodes in processes of two rows each."""
    land = {"dim": 2, "curvature": [0.3, 1.0], "start": [1.0, 2.0, -3.0, 4.0, 0.5, 2.5], "noise": 0.2}
    rule = {"name": "tree", "period": 2, "slow_period": 4, "degrees": [2, 3], "schedule": schedule}
    program.both(bowl(rule, walkers=6, walkers_per_process=2, steps=20, **land))


@pytest.mark.parametrize("p", [1, 4, 16])
def test_depth_one_is_easgd_bit_for_bit(p: int, program: Any, bowl: Any) -> None:
    land = {"dim": 3, "curvature": [0.3, 1.0, 2.5], "start": [0.1 * i - 0.3 for i in range(p)], "noise": 0.3}
    land = {**land, "center_start": 0.7, "walkers": p}
    tree = {"name": "tree", "degrees": [p], "alpha": 0.07, "period": 3, "slow_period": 3}
    seen = program.here(bowl(tree, steps=20, **land))
    easgd = program.here(bowl({"name": "easgd", "alpha": 0.07, "period": 3}, steps=20, **land))
    np.testing.assert_array_equal(seen.x, easgd.x)
    np.testing.assert_array_equal(seen.c, easgd.c)


def test_forces_conserve_the_sum_of_all_nodes(started: str, program: Any, bowl: Any) -> None:
    """On flat ground; what is in the inner nodes is what the others lack (`directions` moves one end of an edge)."""
    land = {"curvature": 0.0, "start": [3.0, 4.0, 5.0, 6.0], "center_start": 0.0}
    rule = {"name": started, "period": 1, "slow_period": 1, "degrees": [2, 2], "alpha": 0.2}
    seen = program.here(bowl(rule, steps=400, every=400, **land))
    np.testing.assert_allclose(seen.x[-1], 3, atol=1e-12)  # of 0 + 1 + … + 6, each has a seventh
    np.testing.assert_allclose(seen.c[-1], 3, atol=1e-12)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"degrees": [2, 3]}, "coupling.degrees = [2, 3]: must have a product of walkers = 4"),
        ({"degrees": []}, "coupling.degrees = []: "),
        ({"degrees": [4, 0]}, "coupling.degrees.1 = 0: must be at least 1"),
        ({"period": 3}, "coupling.slow_period = 4: must be a multiple of period = 3"),
        ({"alpha": 1.0}, "coupling.alpha = 1.0: must be greater than -1 and less than 1"),
        ({"schedule": "up"}, "coupling.schedule = up: must be levels or directions"),
    ],
)
def test_impossible_trees(keys: dict[str, object], line: str) -> None:
    with pytest.raises(wd.UserError) as error:
        parse({"landscape": {"kind": "quadratic"}, "coupling": {"name": "tree", **keys}}, "x")
    assert str(error.value).startswith(line) and "\n" not in str(error.value)
