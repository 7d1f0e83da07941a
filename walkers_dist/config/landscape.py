"""The keys of a landscape and of its model; the landscape layer builds from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from walkers_dist.config.choice import Choice
from walkers_dist.config.data import DATA, DataConfig, DigitsConfig
from walkers_dist.config.errors import UserError
from walkers_dist.config.kinds import NonNegative, Rate
from walkers_dist.config.registry import check_importable, path_of
from walkers_dist.config.section import Finite, Numbers, Section, Size


class ModelConfig(Section):
    name: str


class MLPConfig(ModelConfig):
    name: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Size, ...], Field(strict=False)] = (30, 30)
    activation: Literal["relu", "tanh", "gelu"] = "relu"


def _odd(kernel: int) -> int:
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError("must be an odd number of at least 1, so that maps keep their size")
    return kernel


def _some(channels: tuple[int, ...]) -> tuple[int, ...]:
    if not channels:
        raise ValueError("must hold a width for each block, and there is one at least")
    return channels


class LeNetConfig(ModelConfig):
    name: Literal["lenet"] = "lenet"
    kernel: Size = 5
    padding: Annotated[int, Field(ge=0)] = 0
    """Pixels added to each side before a convolution."""

    @model_validator(mode="after")
    def _windows_hold_pixels(self) -> LeNetConfig:
        if self.padding >= self.kernel:
            raise ValueError(f"padding = {self.padding} must be less than kernel = {self.kernel}")
        return self


class NiNConfig(ModelConfig):
    name: Literal["nin"] = "nin"
    channels: Annotated[tuple[Size, ...], Field(strict=False), AfterValidator(_some)] = (32, 32, 32)
    """Width of each block."""
    kernel: Annotated[int, AfterValidator(_odd)] = 3


class CustomModel(ModelConfig):
    """`Net(**args)`, named by its import path."""

    args: dict[str, object] = Field(default={})


class InitConfig(Section):
    std: NonNegative | None = None
    """Of N(0, std) for all parameters; null is the model's own way."""
    same: bool = True
    """Whether all walkers and the center start at one point; else each at its own, the center at their mean."""
    from_: str | None = Field(default=None, alias="from")
    """Where all start: RUN@STEP/WALKER or a safetensors file."""

    @model_validator(mode="after")
    def _one_start(self) -> InitConfig:
        for key, allowed in (("same", True), ("std", None)):
            if self.from_ is not None and getattr(self, key) is not allowed:
                word = "true" if allowed else "null"
                raise ValueError(f"{key} must be {word} where from = {self.from_} says where all walkers start")
        return self


class LandscapeConfig(Section):
    kind: str


MODELS: dict[str, type[BaseModel]] = {"mlp": MLPConfig, "lenet": LeNetConfig, "nin": NiNConfig}
MODEL = Choice("landscape.model", "model", "mlp", schemas=MODELS, custom=CustomModel)


def _loss(name: str) -> str:
    try:
        path_of("loss", name)
        if ":" in name:
            check_importable(name)
    except UserError as error:
        raise UserError(f"landscape.loss = {error}") from None
    return name


class NetworkConfig(LandscapeConfig):
    kind: Literal["network"] = "network"
    data: Annotated[DataConfig, DATA] = DigitsConfig()
    model: Annotated[ModelConfig, MODEL] = MLPConfig()
    loss: Annotated[str, AfterValidator(_loss)] = "cross_entropy"
    l2: NonNegative = 0.0
    init: InitConfig = InitConfig()


class QuadraticConfig(LandscapeConfig):
    """sum_j curvature_j (theta_j - optimum_j)^2 / 2, with gradient noise of standard deviation `noise`."""

    kind: Literal["quadratic"] = "quadratic"
    dim: Size = 1
    curvature: Finite | Numbers = 1.0
    optima: Finite | Numbers = 0.0
    start: Finite | Numbers = 1.0
    center_start: Finite | None = None
    noise: NonNegative = 0.0

    @model_validator(mode="after")
    def _one_curvature_per_coordinate(self) -> QuadraticConfig:
        if isinstance(self.curvature, tuple) and len(self.curvature) != self.dim:
            raise ValueError(f"curvature must be one number, or one for each of dim = {self.dim} coordinates")
        return self


class MultiplicativeConfig(LandscapeConfig):
    """`curvature` |theta|^2 / 2 with the gradient u theta, u of mean `curvature` and variance `variance`."""

    kind: Literal["multiplicative"] = "multiplicative"
    dim: Size = 1
    curvature: Rate = 0.5
    variance: NonNegative = 0.5
    start: Finite = 1.0
    center_start: Finite | None = None


class CustomLandscape(LandscapeConfig):
    """`function(seed=, dtype=, device=, **keys)`, named by its import path; the other keys are `model_extra`."""

    model_config = ConfigDict(extra="allow")


LANDSCAPE = Choice(
    "landscape",
    "landscape",
    "network",
    key="kind",
    schemas={"network": NetworkConfig, "quadratic": QuadraticConfig, "multiplicative": MultiplicativeConfig},
    custom=CustomLandscape,
)
