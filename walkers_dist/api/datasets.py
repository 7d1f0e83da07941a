"""Which data sets there are, under which licence and where they lie; and fetching one from OpenML."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from walkers_dist.api.columns import aligned
from walkers_dist.config.errors import RunFailed, UserError
from walkers_dist.records import data_files

if TYPE_CHECKING:
    import numpy as np


class DataSet(NamedTuple):
    name: str
    samples: str
    shape: str
    classes: str
    licence: str


LISTED = (
    DataSet("digits", "1797", "1 x 8 x 8", "10", "CC BY 4.0 (UCI)"),
    DataSet("mnist", "60000 + 10000", "1 x 28 x 28", "10", "CC BY-SA 3.0, as commonly stated"),
    DataSet("fashion_mnist", "60000 + 10000", "1 x 28 x 28", "10", "MIT"),
    DataSet("cifar10", "50000 + 10000", "3 x 32 x 32", "10", "none stated; cite Krizhevsky 2009"),
    DataSet("clusters", "any", "dim", "any", "drawn from the seed"),
    DataSet("random", "any", "any", "any", "drawn from the seed"),
)


def table() -> str:
    """One line per data set, under a line of headings."""
    return aligned((*DataSet._fields, "where"), [(*data, _where(data.name)) for data in LISTED])


def _where(name: str) -> str:
    if name not in data_files.FILES:
        return "with scikit-learn" if name == "digits" else "made when asked for"
    for folder in data_files.places(name):
        try:
            if data_files.in_folder(name, folder):
                return str(folder)
        except UserError as error:
            return str(error)
    return f"not here: walkers data fetch {name}"


# ---- fetching -------------------------------------------------------------------------------------------------


class Source(NamedTuple):
    """A data set on OpenML, its name and version there, and how many of its samples come first and are for training."""

    openml: str
    version: int
    train: int
    numbers: int
    """Bytes of one image."""
    files: Callable[[np.ndarray, np.ndarray, int], Mapping[str, bytes]]
    """`(images [N, numbers], labels [N], train)` -> the files that hold them."""


def _idx_files(images: np.ndarray, labels: np.ndarray, train: int) -> dict[str, bytes]:
    from walkers_dist.landscape.data.idx import idx_bytes

    images = images.reshape(-1, 28, 28)
    parts = (images[:train], labels[:train], images[train:], labels[train:])
    return {names[0]: idx_bytes(part) for names, part in zip(data_files.IDX.values(), parts, strict=True)}


def _cifar_files(images: np.ndarray, labels: np.ndarray, train: int) -> dict[str, bytes]:
    import numpy as np

    from walkers_dist.landscape.data.cifar import batch_bytes

    fifths = zip(np.array_split(images[:train], 5), np.array_split(labels[:train], 5), strict=True)
    parts = [*fifths, (images[train:], labels[train:])]
    return {names[0]: batch_bytes(*part) for names, part in zip(data_files.CIFAR.values(), parts, strict=True)}


SOURCES = {
    "mnist": Source("mnist_784", 1, 60000, 28 * 28, _idx_files),
    "fashion_mnist": Source("Fashion-MNIST", 1, 60000, 28 * 28, _idx_files),
    "cifar10": Source("CIFAR_10", 1, 50000, 3 * 32 * 32, _cifar_files),
}
TEST = 10000


def fetch(name: str) -> Path:
    """Download a data set into the user's cache, with checksums; returns its folder.

    Raises UserError where there is no such data set or the cache cannot be written, RunFailed where it cannot be had.
    """
    if name not in SOURCES:
        others = "is made here, or comes with scikit-learn" if name in [data.name for data in LISTED] else "is unknown"
        raise UserError(f"data fetch {name}: {others}; what can be fetched: {', '.join(SOURCES)}")
    folder, source = data_files.cache(name), SOURCES[name]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="download-", dir=folder) as download:  # tried before the download
            images, labels = _download(name, source, download)
        data_files.write(folder, source.files(images, labels, source.train))
    except RunFailed:
        with suppress(OSError):
            folder.rmdir()  # unless it holds files of before
        raise
    except OSError as error:
        line = f"data fetch {name}: {folder} cannot be written: {error.strerror or error}"
        raise UserError(f"{line}; XDG_CACHE_HOME names another place") from None
    return folder


def _download(name: str, source: Source, folder: str) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, numbers] and labels [N] as bytes, checked by scikit-learn against OpenML's own checksum."""
    import numpy as np
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings(action="ignore"):  # of each of its attempts
            found: Any = fetch_openml(
                source.openml, version=source.version, as_frame=False, parser="pandas", cache=False, data_home=folder
            )
    except Exception as error:
        line = " ".join(str(error).split()) or type(error).__name__
        raise RunFailed(f"data fetch {name}: cannot be had from OpenML ({source.openml}): {line}") from None
    images, labels = np.asarray(found.data), np.asarray(found.target).astype(np.int64)
    if images.shape != (source.train + TEST, source.numbers) or labels.shape != images.shape[:1]:
        raise RunFailed(f"data fetch {name}: OpenML sent {list(images.shape)} numbers and {len(labels)} labels")
    return images.astype(np.uint8), labels.astype(np.uint8)
