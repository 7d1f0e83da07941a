"""`lbfgs` against `torch.optim.LBFGS` with one iteration a step, one optimizer a walker (SPEC E.1, `optimization`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import walkers_dist as wd
from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.dynamics.lbfgs import LBFGS

STEPS = 30


def by_torch(x: Tensor, loss: Callable[[Tensor], Tensor], steps: int, lr: float, history: int = 10) -> Tensor:
    """Every point [steps + 1, P]: nothing but the step counts ends it."""
    x = x.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([x], lr, 1, tolerance_grad=0, tolerance_change=-1e300, history_size=history)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(x)
        value.backward()
        return value

    seen = [x.detach().clone()]
    for _ in range(steps):
        optimizer.step(closure)
        seen.append(x.detach().clone())
    return torch.stack(seen)


def walk(X: Tensor, grad: Callable[[Tensor], Tensor], steps: int, *kinds: LBFGS) -> Tensor:
    """Every place [steps + 1, K, P] of rows that move by the kind alone: the last one of `kinds`, after the others."""
    X, state, seen = X.clone(), {}, [X.clone()]
    for t in range(steps):
        dynamics = kinds[min(t, len(kinds) - 1)]
        g = dynamics.gradient(X, grad, state, t)
        dynamics.step(X, g, state, t)
        seen.append(X.clone())
    return torch.stack(seen)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


H, OPTIMA, STARTS = [0.2, 1.0, 2.0, 4.0, 7.0], [0.5, -0.3, 0.0], [1.0, 2.0, -30.0]


@pytest.mark.parametrize(("lr", "history"), [(1.0, 10), (0.4, 10), (0.4, 3), (0.4, 1)])
def test_on_a_bowl_every_step_is_that_of_torch(lr: float, history: int, run: Any) -> None:
    bowl = {"kind": "quadratic", "dim": 5, "curvature": H, "optima": OPTIMA, "start": STARTS, "noise": 0.5}
    dynamics = {"name": "lbfgs", "lr": lr, "history": history}
    seen = run({"walkers": 3, "steps": STEPS, "landscape": bowl, "dynamics": dynamics})
    h = torch.tensor(H, dtype=torch.float64)
    for i in range(3):
        start = torch.full((5,), STARTS[i], dtype=torch.float64)
        expected = by_torch(start, lambda x, m=OPTIMA[i]: (x - m).square() @ h / 2, STEPS, lr, history)
        close(torch.stack([seen.snapshot(t, f"w{i}") for t in seen.steps]), expected)
        assert (expected[-1] - OPTIMA[i]).abs().max() < 0.5  # from up to 30 away


def network(**keys: Any) -> dict[str, Any]:
    return {
        "walkers": 3, "steps": STEPS, "dynamics": {"name": "lbfgs", "lr": 0.5, "history": 6},
        "landscape": {
            "kind": "network", "data": {"name": "digits", "train_size": 150, "test_size": 20},
            "model": {"hidden": [7, 6], "activation": "tanh"}, "l2": 0.01, "init": {"same": False},
        },
        **keys,
    }  # fmt: skip


def test_on_a_network_every_step_is_that_of_torch(run: Any) -> None:
    seen = run(network())
    x, y = seen.landscape.inputs["train"], seen.landscape.targets["train"].argmax(1)
    for walker in ("w0", "w1", "w2"):
        net: nn.Module = seen.model(0, walker)
        shapes = {name: (w.shape, w.numel()) for name, w in net.named_parameters()}

        def loss(theta: Tensor, net: nn.Module = net, shapes: Any = shapes) -> Tensor:
            parts = theta.split([n for _, n in shapes.values()])
            weights = {name: part.view(s) for (name, (s, _)), part in zip(shapes.items(), parts, strict=True)}
            outputs = torch.func.functional_call(net, weights, (x,))
            return F.cross_entropy(outputs, y) + 0.01 / 2 * theta.square().sum()

        expected = by_torch(seen.snapshot(0, walker), loss, STEPS, 0.5, 6)
        close(torch.stack([seen.snapshot(t, walker) for t in seen.steps]), expected)
        assert loss(expected[-1]) < loss(expected[0]) / 2


# On two wells, (x^2 - 1)^2 / 4: the surface is concave for |x| < 1 / sqrt 3, where a pair has y.s < 0

WELLS = torch.tensor([[0.05, 0.1], [1.5, -2.0], [0.3, 1.2], [0.0, 0.0]], dtype=torch.float64)


def test_a_pair_is_left_out_for_its_own_walker_alone() -> None:
    seen = walk(WELLS, lambda X: X**3 - X, 25, LBFGS(lr=0.3, history=2))
    for k, start in enumerate(WELLS):
        close(seen[:, k], by_torch(start, lambda x: ((x**2 - 1) ** 2).sum() / 4, 25, 0.3, 2))
    s, y = seen[1:] - seen[:-1], (seen**3 - seen).diff(dim=0)
    left_out = (s * y).sum(-1)[:10] <= 1e-10
    assert left_out[:, 0].any() and not left_out[:, 0].all() and not left_out[:, 1].any()
    assert not seen[:, 3].any()  # at rest, and no number is lost in 0 / 0


def test_rows_know_nothing_of_each_other() -> None:
    together = walk(WELLS, lambda X: X**3 - X, 25, LBFGS(lr=0.3))
    for k in range(len(WELLS)):
        assert torch.equal(together[:, k : k + 1], walk(WELLS[k : k + 1], lambda X: X**3 - X, 25, LBFGS(lr=0.3)))
    broken = WELLS.clone()
    broken[2] = torch.nan
    others = [0, 1, 3]
    assert torch.equal(walk(broken, lambda X: X**3 - X, 25, LBFGS(lr=0.3))[:, others], together[:, others])


def test_history_may_change_on_the_way() -> None:
    """The textbook's recursion, with lists that are cut to the history of the moment."""
    h = np.array([0.1, 0.5, 1.0, 3.0, 8.0, 20.0])
    kinds = [LBFGS(lr=0.5, history=m) for m in [5] * 8 + [2] * 6 + [4]]
    x, pairs, seen, last = np.ones(6), [], [np.ones(6)], None
    for t in range(25):
        g = h * x
        if last is not None:
            pairs.append((x - last[0], g - last[1]))
        pairs = pairs[-kinds[min(t, 14)].history :]
        B = np.eye(6) * (pairs[-1][0] @ pairs[-1][1] / (pairs[-1][1] @ pairs[-1][1]) if pairs else min(1, 1 / g.sum()))
        for s, y in pairs:  # the inverse Hessian itself, by Nocedal's update formula
            V = np.eye(6) - np.outer(y, s) / (y @ s)
            B = V.T @ B @ V + np.outer(s, s) / (y @ s)
        last, x = (x, g), x - 0.5 * B @ g
        seen.append(x)
    found = walk(torch.ones(1, 6, dtype=torch.float64), lambda X: X * torch.from_numpy(h), 25, *kinds)
    close(found[:, 0], torch.from_numpy(np.array(seen)))


def test_a_pair_is_the_whole_way_between_two_gradients() -> None:
    """On a bowl y = H s whatever force moved the walker between: in one dimension the step then ends at the optimum."""
    X, state, dynamics = torch.tensor([[2.0], [-1.0]], dtype=torch.float64), {}, LBFGS()
    for t in range(2):
        g = dynamics.gradient(X, lambda X: 3 * (X - 0.5), state, t)
        if t == 0:
            X.add_(0.25)  # a force
        dynamics.step(X, g, state, t)
    torch.testing.assert_close(X, torch.full_like(X, 0.5), rtol=0, atol=1e-14)


def test_resumed_in_the_middle_it_makes_the_same_tables(run: Any) -> None:
    keys = {"checkpoint": {"every": 13}, "steps": 20, "coupling": {"name": "easgd", "period": 3}}
    whole = run(network(**keys))
    again = run(network(**keys))
    for part in (again.path / "checkpoints" / "step-00000020").iterdir():
        part.write_bytes(b"damaged")
    again = wd.resume(again.path, report=False)
    assert again.info["begin"] == 13
    assert again.results.drop(columns="elapsed").equals(whole.results.drop(columns="elapsed"))


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("history", 0, "dynamics.history = 0: must be at least 1"),
        ("batch_size", 10, "dynamics.batch_size = 10: must be null"),
        (
            "momentum",
            0.5,
            "unknown key dynamics.momentum; known in dynamics: name, lr, batch_size, weight_decay, history",
        ),
        ("lr", 0.0, "dynamics.lr = 0.0: must be greater than 0"),
    ],
)
def test_refused(key: str, value: object, line: str) -> None:
    with pytest.raises(UserError) as caught:
        parse({"dynamics": {"name": "lbfgs", key: value}}, "x")
    assert str(caught.value) == line


def test_defaults() -> None:
    dynamics = parse({"dynamics": {"name": "lbfgs"}}, "x").dynamics
    assert dynamics == LBFGS(lr=1.0, history=10, batch_size=None) and dynamics.full_batch
