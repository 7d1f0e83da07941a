"""Steps of `adamw` in the real program against `torch.optim.AdamW`, one optimizer per walker."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import walkers_dist as wd
from walkers_dist.config.errors import UserError
from walkers_dist.config.load import parse
from walkers_dist.dynamics.adamw import AdamW
from walkers_dist.landscape import stream

H, OPTIMA, STARTS = [0.2, 1.0, 4.0], [0.5, -0.3, 0.0], [1.0, 2.0, -3.0]
NOISE, STEPS, LATER = 0.4, 25, 12
OPTIONS = {
    "defaults": {},
    "without decay": {"weight_decay": 0.0},
    "DiLoCo": {"lr": 4e-4, "beta2": 0.95, "weight_decay": 0.1, "clip": 1.0},
    "quick": {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.3, "clip": 0.5},
    "no memory": {"lr": 0.05, "beta1": 0.0, "beta2": 0.0, "eps": 1e-2},
}


def optimizer_of(parameters: Any, options: dict[str, Any]) -> torch.optim.AdamW:
    own = {key: value for key, value in options.items() if key not in ("beta1", "beta2", "clip")}
    betas = options.get("beta1", 0.9), options.get("beta2", 0.999)
    return torch.optim.AdamW(parameters, **{"lr": 1e-3, "weight_decay": 0.01, "eps": 1e-8, **own}, betas=betas)


def on_a_bowl(number: int, options: dict[str, Any]) -> Tensor:
    """A walker's course over the noisy bowl; its learning rate is a third of itself later on."""
    x = torch.full((3,), STARTS[number], dtype=torch.float64, requires_grad=True)
    optimizer = optimizer_of([x], options)
    seen = [x.detach().clone()]
    for t in range(STEPS):
        if t == LATER:
            optimizer.param_groups[0]["lr"] /= 3
        xi = torch.randn(3, generator=stream(0, f"w{number}", "noise", t), dtype=torch.float64)
        optimizer.zero_grad()
        ((x - OPTIMA[number]).square() @ torch.tensor(H, dtype=torch.float64) / 2 - NOISE * xi @ x).backward()
        if "clip" in options:
            nn.utils.clip_grad_norm_([x], options["clip"])
        optimizer.step()
        seen.append(x.detach().clone())
    return torch.stack(seen)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_step_is_that_of_torch(options: dict[str, Any], run: Any, points: Any) -> None:
    bowl = {"kind": "quadratic", "dim": 3, "curvature": H, "optima": OPTIMA, "start": STARTS, "noise": NOISE}
    schedule = [{"at": LATER, "set": {"dynamics.lr": options.get("lr", 1e-3) / 3}}]
    dynamics = {"name": "adamw", **options}
    seen = points(run({"walkers": 3, "steps": STEPS, "landscape": bowl, "dynamics": dynamics, "schedule": schedule}))
    for number in range(3):
        expected = on_a_bowl(number, options)
        torch.testing.assert_close(seen[:, 1 + number], expected, rtol=1e-12, atol=1e-12)
        assert (expected[-1] - expected[0]).abs().max() > 1e-3


def test_minibatch_training_is_that_of_torch(run: Any) -> None:
    """Of every weight of the module, each walker on its own minibatches, by automatic differentiation."""
    options = {"lr": 0.01, "clip": 0.3, "weight_decay": 0.1}
    seen: wd.Run = run(
        {
            "walkers": 2, "steps": 14, "dynamics": {"name": "adamw", "batch_size": 35, **options},
            "landscape": {
                "kind": "network", "data": {"name": "digits", "train_size": 150}, "model": {"hidden": [7, 6]},
                "init": {"same": False},
            },
        }
    )  # fmt: skip
    x, y = seen.landscape.inputs["train"], seen.landscape.targets["train"].argmax(1)
    for walker in ("w0", "w1"):
        net: nn.Module = seen.model(0, walker)
        optimizer = optimizer_of(net.parameters(), options)
        for t in range(14):
            order = torch.randperm(150, generator=stream(0, walker, "order", t // 4)).split(35)
            optimizer.zero_grad()
            F.cross_entropy(net(x[order[t % 4]]), y[order[t % 4]]).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.3)
            optimizer.step()
            theta = nn.utils.parameters_to_vector(net.parameters()).detach()
            torch.testing.assert_close(seen.snapshot(t + 1, walker), theta, rtol=1e-10, atol=1e-10)


def test_a_walker_that_is_lost_takes_no_other_with_it(by_hand: Any) -> None:
    """Nor does it clip them: the norm is each walker's own."""
    kind, none = AdamW(lr=0.1, clip=0.1), parse({"coupling": None}, "x").coupling
    X = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.1]], dtype=torch.float64)
    whole = by_hand(kind, none, X, X[0], lambda X, t: 2 * X, 10)[-1][0]
    X[1] = torch.nan
    lost = by_hand(kind, none, X, X[0], lambda X, t: 2 * X, 10)[-1][0]
    assert torch.equal(lost[[0, 2]], whole[[0, 2]]) and lost[1].isnan().all()


def test_resumed_and_elsewhere_it_is_the_same(goes_on: Any) -> None:
    goes_on({"name": "adamw", "lr": 0.05, "clip": 1.0}, {"name": "easgd", "alpha": 0.1, "period": 2})


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("beta1", 1.0, "dynamics.beta1 = 1.0: must be at least 0 and less than 1"),
        ("clip", 0.0, "dynamics.clip = 0.0: must be"),
        ("momentum", 0.5, "unknown key dynamics.momentum"),
    ],
)
def test_refused(key: str, value: object, line: str) -> None:
    with pytest.raises(UserError) as caught:
        parse({"dynamics": {"name": "adamw", key: value}}, "x")
    assert str(caught.value).startswith(line)
