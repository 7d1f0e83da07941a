"""The keys of a landscape and of its data and model; the landscape layer builds from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from walkers_dist.config.choice import Choice
from walkers_dist.config.errors import UserError
from walkers_dist.config.kinds import NonNegative
from walkers_dist.config.registry import check_importable, path_of

Finite = Annotated[float, Field(allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1)]
Numbers = Annotated[tuple[Finite, ...], Field(strict=False)]

DIGITS = 1797
"""Images in scikit-learn's digits."""
DigitsSize = Annotated[int, Field(ge=1, le=DIGITS - 1)]


class Section(BaseModel):
    """A part of the configuration: its keys, with types that are not converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DataConfig(Section):
    name: str
    normalize: Literal["train", "split"] | None = None
    """One mean and standard deviation for all inputs: of the training part, or of each part its own."""


class DigitsConfig(DataConfig):
    name: Literal["digits"] = "digits"
    normalize: Literal["train", "split"] | None = "train"
    train_size: DigitsSize | None = 1000
    test_size: DigitsSize | None = None

    @model_validator(mode="after")
    def _enough_images(self) -> DigitsConfig:
        train, test = self.train_size, self.test_size
        if train and test and train + test > DIGITS:
            raise ValueError(f"train_size = {train} and test_size = {test} must be together at most {DIGITS}")
        return self


class CustomData(DataConfig):
    """`load(seed=…, **args)`, named by its import path; what it returns is not normalized unless asked."""

    args: dict[str, object] = {}


class ModelConfig(Section):
    name: str


class MLPConfig(ModelConfig):
    name: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Size, ...], Field(strict=False)] = (30, 30)
    activation: Literal["relu", "tanh", "gelu"] = "relu"


class CustomModel(ModelConfig):
    """`Net(**args)`, named by its import path."""

    args: dict[str, object] = {}


class InitConfig(Section):
    std: NonNegative | None = None
    same: bool = True


class LandscapeConfig(Section):
    kind: str


DATA = Choice("landscape.data", "data", "digits", schemas={"digits": DigitsConfig}, custom=CustomData)
MODEL = Choice("landscape.model", "model", "mlp", schemas={"mlp": MLPConfig}, custom=CustomModel)


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


class CustomLandscape(LandscapeConfig):
    """`function(seed=, dtype=, device=, **keys)`, named by its import path; the other keys are `model_extra`."""

    model_config = ConfigDict(extra="allow")


LANDSCAPE = Choice(
    "landscape",
    "landscape",
    "network",
    key="kind",
    schemas={"network": NetworkConfig, "quadratic": QuadraticConfig},
    custom=CustomLandscape,
)
