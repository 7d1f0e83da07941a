"""From the configuration to a landscape on a device."""

from __future__ import annotations

from typing import Any

import torch

from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import (
    CustomData,
    CustomLandscape,
    CustomModel,
    DataConfig,
    DigitsConfig,
    LandscapeConfig,
    MLPConfig,
    ModelConfig,
    NetworkConfig,
    QuadraticConfig,
)
from walkers_dist.config.registry import lookup
from walkers_dist.landscape import data as datasets
from walkers_dist.landscape.base import Landscape
from walkers_dist.landscape.data import Data
from walkers_dist.landscape.losses import Loss, UserLoss
from walkers_dist.landscape.mlp import MLP
from walkers_dist.landscape.model import Model
from walkers_dist.landscape.module import ModuleModel
from walkers_dist.landscape.network import Network
from walkers_dist.landscape.quadratic import Quadratic
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
    if isinstance(config, QuadraticConfig):
        keys = config.model_dump(exclude={"kind"})
        return Quadratic(**keys, seed=seed, dtype=dtype, device=device)
    assert isinstance(config, CustomLandscape)
    return _custom(config, seed, dtype, device)


def _network(config: NetworkConfig, seed: int, dtype: torch.dtype, device: torch.device) -> Network:
    data = datasets.on(_data(config.data, seed), dtype, device)
    loss = _loss(config.loss)
    model = _model(config.model, data, seed, dtype)
    return Network(
        model,
        loss,
        data,
        l2=config.l2,
        init_std=config.init.std,
        same_start=config.init.same,
        seed=seed,
        dtype=dtype,
    )


def _data(config: DataConfig, seed: int) -> Data:
    if isinstance(config, DigitsConfig):
        data = datasets.digits(seed=seed, train_size=config.train_size, test_size=config.test_size)
    else:
        assert isinstance(config, CustomData)
        data = datasets.from_user(_named("landscape.data.name", "data", config.name), config.name, seed, config.args)
    return datasets.normalized(data, config.normalize) if config.normalize else data


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
    assert isinstance(config, CustomModel)
    net = _named("landscape.model.name", "model", config.name)

    def make() -> torch.nn.Module:
        with users_own(f"landscape.model = {config.name} with args {config.args}"):
            return net(**config.args)

    return ModuleModel(make, config.name, data.x_train[:1], stream(seed, "all", "frozen"), dtype)


def _outputs(data: Data) -> int:
    """One output per class, or per component of the targets."""
    y = data.y_train
    if y.ndim > 1:
        return y.shape[1]
    if y.is_floating_point():
        raise UserError(
            "landscape.data: targets of shape [N] are real numbers; give them as [N, 1] for a network with one output"
        )
    return int(max(y.max(), data.y_test.max())) + 1


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
