"""From the configuration to data: load, normalise, corrupt, subset, soften."""

from __future__ import annotations

from walkers_dist.config.data import CustomData, DataConfig, SoftLabels, SomeNoise
from walkers_dist.config.errors import UserError
from walkers_dist.config.registry import lookup
from walkers_dist.landscape.data import corruption
from walkers_dist.landscape.data.base import Data, Loaded, Part
from walkers_dist.landscape.data.labels import softened
from walkers_dist.landscape.data.normalisation import scales
from walkers_dist.landscape.data.subset import of_classes, of_size
from walkers_dist.landscape.data.users import from_user


def prepare(config: DataConfig, seed: int) -> Data:
    """What a configuration asks for. Raises UserError.

    That order is the order of what happens to a sample. Inputs are only made once it is known which are asked for,
    so normalisation is measured first and done then; noise is the same law whether the others had it too or not.
    """
    loaded = _load(config, seed)
    train, test, classes = loaded.train, loaded.test, loaded.classes
    measured = scales(train, test, config.normalize) if config.normalize and train.real else None

    corruption.check(config.corruption, train, classes)
    if config.corruption == "double" and classes is not None:
        train = corruption.double(train, "train", classes, seed)
        test = corruption.double(test, "test", classes, seed)
    elif config.corruption == "scrambled":
        train = corruption.scrambled(train, seed)

    if config.classes is not None:
        there_are = _needed("classes", classes)
        train, test = (of_classes(part, config.classes, there_are) for part in (train, test))
        classes = len(config.classes)
    train = of_size(train, "train", config.train_size, config.classes, seed)
    test = of_size(test, "test", config.test_size, config.classes, seed)

    x_train, x_test = train.inputs(), test.inputs()
    if measured:
        x_train, x_test = measured[0].of(x_train), measured[1].of(x_test)
    if config.corruption == "all_noise":
        x_train = corruption.all_noise(x_train, seed)
    elif isinstance(config.corruption, SomeNoise):
        x_train = corruption.some_noise(x_train, config.corruption.rows, config.corruption.columns, seed)

    y_train, y_test = train.y, test.y
    if isinstance(config.labels, SoftLabels):
        there_are = _needed("labels", classes)
        config.labels.check(there_are)
        y_train = softened(y_train, there_are, p=config.labels.p, q=config.labels.q)
        y_test = softened(y_test, there_are, p=1, q=0)
    return Data(x_train, y_train, x_test, y_test, classes)


def _load(config: DataConfig, seed: int) -> Loaded:
    try:
        source = lookup("data", config.name)
    except UserError as error:
        raise UserError(f"landscape.data.name = {error}") from error.__cause__
    if not isinstance(config, CustomData):
        loaded: Loaded = source(config, seed)
        return loaded
    x_train, y_train, x_test, y_test = from_user(source, config.name, seed, config.args)
    labels = [y for y in (y_train, y_test) if y.ndim == 1 and not y.is_floating_point() and y.min() >= 0]
    classes = max(int(y.max()) for y in labels) + 1 if len(labels) == 2 else None
    return Loaded(Part(x_train, y_train), Part(x_test, y_test), classes)


def _needed(key: str, classes: int | None) -> int:
    if classes is None:
        raise UserError(f"landscape.data.{key}: needs class labels [N] counted from 0, and the targets are none")
    return classes
