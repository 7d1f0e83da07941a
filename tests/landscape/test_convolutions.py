"""What the convolutional networks share: images in, derivatives against finite differences, and their output layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import NetworkConfig
from walkers_dist.landscape import build
from walkers_dist.landscape.network import Network

SOURCE = """
import torch

def images(seed, shape, kind="float32"):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(14, *shape, generator=g).to(getattr(torch, kind))
    return x[:9], torch.arange(9) % 3, x[9:], torch.arange(5) % 3
"""
MODELS: dict[str, dict[str, Any]] = {
    "lenet": {"name": "lenet", "padding": 2},
    "nin": {"name": "nin", "channels": [3, 4, 5]},
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    return request.param


def made(user_module: Any, model: str, shape: list[int], *, dtype: str = "float64", kind: str = "float32") -> Network:
    data = {"name": f"{user_module(SOURCE)}:images", "args": {"shape": shape, "kind": kind}}
    landscape = build(NetworkConfig.model_validate({"data": data, "model": MODELS[model]}), dtype=dtype)
    assert isinstance(landscape, Network)
    return landscape


def directions(P: int) -> Tensor:
    V = torch.randn(3, P, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return V / V.norm(dim=1, keepdim=True)


def test_gradient_against_differences_of_the_loss(user_module: Any, model: str) -> None:
    landscape, h = made(user_module, model, [2, 8, 8]), 1e-5
    theta = torch.stack([landscape.start("w0"), 0.8 * landscape.start("w0")])
    g = landscape.grad(theta)
    for v in directions(landscape.size):
        slope = (landscape.loss(theta + h * v) - landscape.loss(theta - h * v)) / (2 * h)
        torch.testing.assert_close(g @ v, slope, rtol=1e-6, atol=1e-8)
        assert (g @ v).abs().min() > 1e-4


def test_hessian_against_differences_of_the_gradient(user_module: Any, model: str) -> None:
    landscape, h = made(user_module, model, [2, 8, 8]), 1e-6
    theta, V = landscape.start("w0"), directions(landscape.size)
    HV = landscape.hvp(theta, V)
    for v, Hv in zip(V, HV, strict=True):
        ends = landscape.grad(torch.stack([theta + h * v, theta - h * v]))
        torch.testing.assert_close(Hv, (ends[0] - ends[1]) / (2 * h), rtol=1e-5, atol=1e-7)
    H = V @ HV.T
    torch.testing.assert_close(H, H.T, rtol=1e-10, atol=1e-12)
    assert HV.norm(dim=1).min() > 1e-3


def test_images_without_channels_have_one(user_module: Any, model: str) -> None:
    flat, one = made(user_module, model, [8, 9]), made(user_module, model, [1, 8, 9])
    theta = flat.start("w0")[None]
    assert torch.equal(theta[0], one.start("w0"))
    assert torch.equal(flat.loss(theta), one.loss(theta)) and torch.equal(flat.grad(theta), one.grad(theta))


@pytest.mark.parametrize(
    ("shape", "kind", "says"),
    [
        ([64], "float32", r"real numbers of shape \[N, 64\]"),
        ([1, 2, 8, 8], "float32", r"real numbers of shape \[N, 1, 2, 8, 8\]"),
        ([1, 8, 8], "uint8", r"whole numbers \(uint8\) of shape \[N, 1, 8, 8\]"),
    ],
)
def test_inputs_that_are_no_images(user_module: Any, model: str, shape: list[int], kind: str, says: str) -> None:
    needs = r"it needs images of real numbers, \[N, C, H, W\] or \[N, H, W\], and the inputs of landscape.data are "
    with pytest.raises(UserError, match=f"landscape.model.name = {model}: {needs}{says}"):
        made(user_module, model, shape, kind=kind)


def test_the_output_bias_moves_outputs_alone(user_module: Any, model: str) -> None:
    """E.2: what is damped is the bias of the output layer, and not whatever lies in the last ten places."""
    landscape = made(user_module, model, [8, 8])
    where = landscape.output_bias
    assert where is not None and where.stop - where.start == 3
    x, theta = landscape.inputs["train"], landscape.start("w0")
    before = landscape.module(theta)(x)
    theta[where] += torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(landscape.module(theta)(x) - before, torch.tensor([[1.0, 2, 3]] * 9).double())
