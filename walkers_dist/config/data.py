"""The keys of a data set; `landscape/data/` loads and prepares what they describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, WrapValidator, model_validator

from walkers_dist.config.choice import Choice
from walkers_dist.config.errors import UserError
from walkers_dist.config.explain import explain
from walkers_dist.config.kinds import NonNegative
from walkers_dist.config.section import Section, Size
from walkers_dist.config.text import inline

DIGITS, DIGITS_TRAIN = 1797, 1000
"""Images in scikit-learn's digits, and how many of them are for training where nobody says."""
DigitsSize = Annotated[int, Field(ge=1, le=DIGITS - 1)]
Label = Annotated[int, Field(ge=0)]
Labels = Annotated[tuple[Label, ...], Field(strict=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class SomeNoise(Section):
    """So many random rows and columns, the same in all training images, are replaced by noise."""

    name: Literal["some_noise"] = "some_noise"
    rows: Annotated[int, Field(ge=0)] = 7
    columns: Annotated[int, Field(ge=0)] = 7

    @model_validator(mode="after")
    def _some(self) -> SomeNoise:
        if self.rows == self.columns == 0:
            raise ValueError("rows and columns must not both be 0")
        return self


class SoftLabels(Section):
    """A training label becomes p at its class and q at every other."""

    p: Share
    q: Share

    def check(self, classes: int) -> None:
        """Raise UserError unless they are probabilities over so many classes."""
        total = self.p + (classes - 1) * self.q
        if abs(total - 1) > 1e-6:
            given = f"landscape.data.labels = {{p: {self.p:g}, q: {self.q:g}}}"
            raise UserError(f"{given}: with {classes} classes p + {classes - 1} q must be 1, and is {total:g}")


def _or_mapping(kind: type[BaseModel], key: str) -> WrapValidator:
    """A mapping's errors are its own, not mixed with those of the words that may stand in its place."""

    def validate(value: Any, words: Callable[[Any], Any]) -> Any:
        if not isinstance(value, dict):
            return words(value)
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            raise explain(error, kind, value, f"landscape.data.{key}") from None

    return WrapValidator(validate)


def _with_its_parameters(corruption: str | SomeNoise) -> str | SomeNoise:
    return SomeNoise() if corruption == "some_noise" else corruption


Corruption = Annotated[
    Literal["none", "double", "scrambled", "all_noise", "some_noise"] | SomeNoise,
    AfterValidator(_with_its_parameters),
    _or_mapping(SomeNoise, "corruption"),
]


class DataConfig(Section):
    """What any data set can be asked for; it happens in this order: normalize, corruption, classes, sizes, labels."""

    name: str
    train_size: Size | None = 1000
    """Samples, picked at random; null takes all."""
    test_size: Size | None = None
    classes: Labels | None = None
    """The labels that are kept; they are counted from 0 in this order."""
    normalize: Literal["train", "split"] | None = "train"
    """One mean and standard deviation for all inputs: of the training part, or of each part its own."""
    corruption: Corruption = "none"
    labels: Annotated[Literal["hard"] | SoftLabels, _or_mapping(SoftLabels, "labels")] = "hard"

    @property
    def known_classes(self) -> int | None:
        """How many classes the data set has; None where only the data can tell."""
        return None

    @model_validator(mode="after")
    def _labels_exist(self) -> DataConfig:
        there_are = self.known_classes
        if self.classes is not None:
            check_classes(self.classes, there_are)
            there_are = len(self.classes)
        if isinstance(self.labels, SoftLabels) and there_are is not None:
            self.labels.check(there_are)
        return self


def check_classes(classes: tuple[int, ...], there_are: int | None) -> None:
    """Raise UserError unless `classes` are some of so many labels, each once."""
    where = f"landscape.data.classes = {inline(list(classes))}"
    if not classes or len(set(classes)) < len(classes):
        raise UserError(f"{where}: must hold at least one label, and each once")
    if there_are is not None and max(classes) >= there_are:
        raise UserError(f"{where}: labels go from 0 to {there_are - 1}")


class DigitsConfig(DataConfig):
    name: Literal["digits"] = "digits"
    train_size: DigitsSize | None = DIGITS_TRAIN

    @property
    def known_classes(self) -> int:
        return 10

    @model_validator(mode="after")
    def _enough_images(self) -> DigitsConfig:
        train, test = self.train_size, self.test_size
        if (train or 1) + (test or 1) > DIGITS:
            sizes = f"train_size = {inline(train)} and test_size = {inline(test)}"
            raise ValueError(f"{sizes} must be together at most {DIGITS}")
        return self


class FilesConfig(DataConfig):
    """Images from files; `path` is their folder, null the usual places."""

    path: str | None = None

    @property
    def known_classes(self) -> int:
        return 10


class MNISTConfig(FilesConfig):
    name: Literal["mnist"] = "mnist"


class FashionMNISTConfig(FilesConfig):
    name: Literal["fashion_mnist"] = "fashion_mnist"


class CIFAR10Config(FilesConfig):
    name: Literal["cifar10"] = "cifar10"


class DrawnConfig(DataConfig):
    """Data that are drawn for the run, as many as asked for; as many for testing, unless it says otherwise."""

    train_size: Size = 1000
    normalize: Literal["train", "split"] | None = None

    @model_validator(mode="after")
    def _as_many_as_asked(self) -> DrawnConfig:
        if self.corruption == "double" and self.classes is not None:
            where = f"landscape.data.classes = {inline(list(self.classes))}"
            raise UserError(f"{where}: must be null where corruption = double makes new labels of those that are drawn")
        return self


class ClustersConfig(DrawnConfig):
    """Gaussian clusters: centers in random directions at distance `norm` from 0, points around them, evenly split."""

    name: Literal["clusters"] = "clusters"
    clusters: Size = 3
    dim: Size = 20
    norm: NonNegative = 2.0
    std: NonNegative | None = None
    """Of each coordinate of a point around its center; null: 0.5 / sqrt(dim)."""
    class_of: Labels | None = None
    """The class of each cluster; null: each is a class of its own."""

    @property
    def classes_of_clusters(self) -> tuple[int, ...]:
        return self.class_of if self.class_of is not None else tuple(range(self.clusters))

    @property
    def known_classes(self) -> int:
        return max(self.classes_of_clusters, default=0) + 1

    @model_validator(mode="after")
    def _one_class_per_cluster(self) -> ClustersConfig:
        given = self.classes_of_clusters
        if len(given) != self.clusters:
            where = f"landscape.data.class_of = {inline(list(given))}"
            raise UserError(f"{where}: must hold one class for each of clusters = {self.clusters}")
        if empty := [label for label in self.classes or () if label not in given]:
            raise UserError(f"landscape.data.classes = {inline(list(self.classes or ()))}: no cluster is of {empty[0]}")
        return self


class RandomConfig(DrawnConfig):
    """Inputs from N(0, 1) with labels that have nothing to do with them."""

    name: Literal["random"] = "random"
    shape: Annotated[tuple[Size, ...], Field(strict=False)] = (1, 8, 8)
    """Of one input."""
    label_count: Size = 10

    @property
    def known_classes(self) -> int:
        return self.label_count


class CustomData(DataConfig):
    """`load(seed=…, **args)`, named by its import path; what it returns is not normalized unless asked."""

    train_size: Size | None = None
    normalize: Literal["train", "split"] | None = None
    args: dict[str, object] = Field(default={})


DATA = Choice(
    "landscape.data",
    "data",
    "digits",
    schemas={
        "digits": DigitsConfig,
        "mnist": MNISTConfig,
        "fashion_mnist": FashionMNISTConfig,
        "cifar10": CIFAR10Config,
        "clusters": ClustersConfig,
        "random": RandomConfig,
    },
    custom=CustomData,
)
