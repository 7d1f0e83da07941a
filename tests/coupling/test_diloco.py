"""DiLoCo: the published trajectories, torch's own outer optimiser, and local SGD as a special case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

BENT = {"dim": 3, "curvature": [0.3, 1.0, 2.5], "start": [1.0, -2.0, 3.0, 0.5], "optima": [0.2, -0.1, 0.4, 0.0]}
LOCAL = {"name": "diloco", "period": 10, "outer_lr": 1.0, "outer_momentum": 0.0}


@pytest.mark.parametrize(
    ("rule", "steps", "c"),
    [({"name": "diloco", "period": 10}, 50, "-.0703511484"), (LOCAL, 30, ".0423911583")],
    ids=["C8", "C9"],
)
def test_published_trajectory_here_and_over_gloo(
    rule: dict[str, Any], steps: int, c: str, program: Any, bowl: Any, printed: Any
) -> None:
    seen = program.both(bowl(rule, walkers=2, steps=steps, curvature=1.0, start=1.0))
    assert seen.c[-1].item() == printed(c)
    assert (seen.x[-1] == seen.c[-1]).all()


@pytest.mark.parametrize(("lr", "momentum"), [(0.7, 0.9), (1.3, 0.0), (0.4, 0.5)])
def test_the_outer_optimiser_is_torch_s(lr: float, momentum: float, program: Any, bowl: Any) -> None:
    """As OpenDiloco does it: the mean of c - x^i is put into `grad`, then comes a step of `torch.optim.SGD`."""
    rule = {"name": "diloco", "period": 4, "outer_lr": lr, "outer_momentum": momentum}
    inner = {"name": "adamw", "weight_decay": 0.1, "beta2": 0.95}
    seen = program.both(bowl(rule, steps=18, dynamics={"name": "adamw"}, lr=0.1, **BENT) | {"dynamics": inner})
    h, optima = torch.tensor(BENT["curvature"]).double(), BENT["optima"]
    c = torch.nn.Parameter(torch.full((3,), sum(BENT["start"]) / 4, dtype=torch.float64))
    rows = [torch.nn.Parameter(torch.full((3,), start, dtype=torch.float64)) for start in BENT["start"]]
    outer = torch.optim.SGD([c], lr, momentum, nesterov=momentum > 0)
    own = [torch.optim.AdamW([x], lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1) for x in rows]
    for t in range(18):
        np.testing.assert_allclose(seen.x[t], torch.stack(list(rows)).detach(), rtol=0, atol=1e-13)
        np.testing.assert_allclose(seen.c[t], c.detach(), rtol=0, atol=1e-13)
        for x, m, optimiser in zip(rows, optima, own, strict=True):
            x.grad = h * (x.detach() - m)
            optimiser.step()
        if (t + 1) % 4 == 0:
            c.grad = sum(c.detach() - x.detach() for x in rows) / 4
            outer.step()
            for x in rows:
                x.data.copy_(c.data)


def test_local_sgd_every_step_is_sgd_on_the_mean_gradient(program: Any, bowl: Any) -> None:
    """All walkers at one point, averaged after each step: one walker with the mean of their gradients."""
    land = {**BENT, "start": 1.5}
    seen = program.here(bowl({**LOCAL, "period": 1}, steps=15, **land))
    x = np.full(3, 1.5)
    for t in range(16):
        np.testing.assert_allclose(seen.x[t], np.broadcast_to(x, (4, 3)), rtol=0, atol=1e-14)
        x = x - 0.1 * np.mean([np.array(BENT["curvature"]) * (x - m) for m in BENT["optima"]], axis=0)
