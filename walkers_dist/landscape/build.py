"""From the configuration to a landscape on a device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import (
    CustomLandscape,
    CustomModel,
    LandscapeConfig,
    LeNetConfig,
    MLPConfig,
    ModelConfig,
    MultiplicativeConfig,
    NetworkConfig,
    NiNConfig,
    QuadraticConfig,
)
from walkers_dist.config.registry import lookup
from walkers_dist.landscape.base import Landscape
from walkers_dist.landscape.data.base import Data, on
from walkers_dist.landscape.data.prepare import prepare
from walkers_dist.landscape.losses import Loss, UserLoss
from walkers_dist.landscape.mlp import MLP
from walkers_dist.landscape.model import Model
from walkers_dist.landscape.module import ModuleModel
from walkers_dist.landscape.multiplicative import Multiplicative
from walkers_dist.landscape.network import Network
from walkers_dist.landscape.quadratic import Quadratic
from walkers_dist.landscape.starting import StartFrom
from walkers_dist.landscape.streams import stream
from walkers_dist.landscape.users import users_own


def build(
    config: LandscapeConfig,
    *,
    seed: int = 0,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
) -> Landscape:
    """The landscape that a configuration describes. Raises `UserError` where data, model or loss do not fit."""
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    device = torch.device(device)
    if isinstance(config, NetworkConfig):
        return _network(config, seed, dtype, device)
    if isinstance(config, QuadraticConfig | MultiplicativeConfig):
        kind = Quadratic if isinstance(config, QuadraticConfig) else Multiplicative
        return kind(**config.model_dump(exclude={"kind"}), seed=seed, dtype=dtype, device=device)
    assert isinstance(config, CustomLandscape)
    return _custom(config, seed, dtype, device)


def _network(config: NetworkConfig, seed: int, dtype: torch.dtype, device: torch.device) -> Network:
    data = on(prepare(config.data, seed), dtype, device)
    loss = _loss(config.loss)
    model = _model(config.model, data, seed, dtype)
    if isinstance(loss, UserLoss):
        _no_broadcast(data, model, loss)
    return Network(
        model,
        loss,
        data,
        l2=config.l2,
        init_std=config.init.std,
        same_start=config.init.same,
        start_from=StartFrom(config.init.from_) if config.init.from_ is not None else None,
        seed=seed,
        dtype=dtype,
    )


def _model(config: ModelConfig, data: Data, seed: int, dtype: torch.dtype) -> Model:
    if isinstance(config, MLPConfig):
        x = data.x_train
        if not x.is_floating_point():
            kind = str(x.dtype).removeprefix("torch.")
            raise UserError(f"landscape.data: inputs are whole numbers ({kind}), and a perceptron needs real ones")
        if x.ndim == 1:
            raise UserError("landscape.data: inputs of shape [N] are one number each; give them as [N, 1]")
        into = x[0].numel()
        return MLP([into, *config.hidden, _outputs(data)], config.activation)
    net = _named("landscape.model.name", "model", config.name)
    if isinstance(config, LeNetConfig | NiNConfig):
        make = partial(net, _image(config.name, data), _outputs(data), **config.model_dump(exclude={"name"}))
    else:
        assert isinstance(config, CustomModel)
        make = partial(_users_module, net, config.name, config.args)
    return ModuleModel(make, config.name, data.x_train[:1], stream(seed, "all", "frozen"), dtype)


def _users_module(net: Callable[..., torch.nn.Module], name: str, args: dict[str, Any]) -> torch.nn.Module:
    with users_own(f"landscape.model = {name} with args {args}"):
        return net(**args)


def _image(model: str, data: Data) -> tuple[int, int, int]:
    """Channels, height and width of an input."""
    x = data.x_train
    if x.ndim not in (3, 4) or not x.is_floating_point():
        shape, dtype = ", ".join(["N", *map(str, x.shape[1:])]), str(x.dtype).removeprefix("torch.")
        numbers = "real numbers" if x.is_floating_point() else f"whole numbers ({dtype})"
        raise UserError(
            f"landscape.model.name = {model}: it needs images of real numbers, [N, C, H, W] or [N, H, W], and the "
            f"inputs of landscape.data are {numbers} of shape [{shape}]"
        )
    channels, height, width = x.shape[1:] if x.ndim == 4 else (1, *x.shape[1:])
    return channels, height, width


def _outputs(data: Data) -> int:
    """One output per class, or per component of the targets."""
    y = data.y_train
    if y.ndim > 1:
        return y.shape[1]
    if y.is_floating_point():
        raise UserError(
            "landscape.data: targets of shape [N] are real numbers; give them as [N, 1] for a network with one output"
        )
    return data.classes or int(max(y.max(), data.y_test.max())) + 1


def _no_broadcast(data: Data, model: Model, loss: UserLoss) -> None:
    """Refuse what torch would silently spread to [N, N] in a user's loss; the built-in ones see it by themselves."""
    if data.y_train.is_floating_point() and data.y_train.ndim == 1 and tuple(model.output_shape) == (1,):
        where = f"landscape.loss = {loss.name}"
        raise UserError(f"{where}: targets of shape [N] do not fit outputs of shape [N, 1]; give them as [N, 1]")


def _named(key: str, category: str, name: str) -> Any:
    try:
        return lookup(category, name)
    except UserError as error:
        raise UserError(f"{key} = {error}") from error.__cause__


def _loss(name: str) -> Loss:
    found = _named("landscape.loss", "loss", name)
    return UserLoss(found, name) if ":" in name else found()


def _custom(config: CustomLandscape, seed: int, dtype: torch.dtype, device: torch.device) -> Landscape:
    where = f"landscape.kind = {config.kind}"
    function = _named("landscape.kind", "landscape", config.kind)
    with users_own(where):
        landscape = function(seed=seed, dtype=dtype, device=device, **config.model_extra or {})
    if not isinstance(landscape, Landscape):
        raise UserError(f"{where}: it returned a {type(landscape).__name__}, and must return a Landscape")
    landscape.seed, landscape.dtype, landscape.device = seed, dtype, device
    with users_own(where):
        theta = torch.stack([landscape.start("w0")] * 2)
        loss = landscape.loss(theta, split="train", walkers=["w0", "w0"])
    if loss.shape != (2,):
        raise UserError(f"{where}: loss of points {list(theta.shape)} must be [2], and has shape {list(loss.shape)}")
    return landscape
