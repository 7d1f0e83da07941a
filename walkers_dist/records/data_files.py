"""Where the files of a data set lie on this machine, and whether they hold what was written into them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from walkers_dist.config.errors import UserError
from walkers_dist.records import disk

Files = Mapping[str, Sequence[str]]
"""What a file holds -> the names, within a folder, under which it is found."""


def _idx(stem: str) -> list[str]:
    return [name + end for name in (stem, stem.replace("-idx", ".idx")) for end in ("", ".gz")]


IDX: Files = {
    "train images": _idx("train-images-idx3-ubyte"),
    "train labels": _idx("train-labels-idx1-ubyte"),
    "test images": _idx("t10k-images-idx3-ubyte"),
    "test labels": _idx("t10k-labels-idx1-ubyte"),
}
CIFAR: Files = {
    batch: [f"{batch}.bin", f"cifar-10-batches-bin/{batch}.bin"]
    for batch in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
}
FILES: dict[str, Files] = {"mnist": IDX, "fashion_mnist": IDX, "cifar10": CIFAR}
PACKAGES = {"fashion_mnist": (Path("/usr/share/datasets/fashion-mnist"), "Debian's package dataset-fashion-mnist")}
CHECKSUMS = "checksums.json"


def cache(name: str) -> Path:
    """The folder in the user's cache that `walkers data fetch NAME` writes to."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "walkers_dist" / name


def places(name: str) -> list[Path]:
    """Where a data set is looked for, in this order."""
    own = [Path(os.environ["WALKERS_DATA"]) / name] if os.environ.get("WALKERS_DATA") else []
    return [*own, cache(name), *([PACKAGES[name][0]] if name in PACKAGES else [])]


def find(name: str, path: str | None = None) -> dict[str, Path]:
    """The files of a data set, by what they hold: in the folder `path`, else in the usual places. Raises UserError."""
    for folder in [Path(path).expanduser()] if path is not None else places(name):
        if found := in_folder(name, folder):
            return found
    first = next(iter(FILES[name].values()))[0]
    gets = f"`walkers data fetch {name}` gets it" + (f", or {PACKAGES[name][1]}" if name in PACKAGES else "")
    if path is not None:
        raise UserError(f"landscape.data.path = {path}: holds no {first}; without a path, {gets}")
    looked = ", ".join(map(str, places(name)))
    raise UserError(f"landscape.data.name = {name}: there is no {first} in {looked}; {gets}, or landscape.data.path")


def in_folder(name: str, folder: Path) -> dict[str, Path]:
    """The files of a data set in this folder; nothing if none is there. Raises UserError where one is missing."""
    found: dict[str, Path] = {}
    for what, names in FILES[name].items():
        file = next((folder / name for name in names if (folder / name).is_file()), None)
        if file is not None:
            found[what] = file
    if missing := [names[0] for what, names in FILES[name].items() if found and what not in found]:
        raise UserError(f"{folder}: {missing[0]} is missing beside {next(iter(found.values())).name}")
    return found


def read(file: Path) -> bytearray:
    """All bytes of a file, unpacked if its name ends in .gz. Raises UserError where it is not what was written."""
    try:
        packed = file.read_bytes()
        check(file, packed)
        return bytearray(gzip.decompress(packed) if file.suffix == ".gz" else packed)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{file}: is damaged: {error}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from None


def check(file: Path, content: bytes) -> None:
    """Raise UserError where a checksum was written down for this file, and is another one."""
    noted = file.parent / CHECKSUMS
    if not noted.is_file():
        return
    try:
        known = dict(json.loads(noted.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(f"{noted}: is damaged; fetch the data again, or remove it") from None
    if known.get(file.name, "") not in ("", hashlib.sha256(content).hexdigest()):
        raise UserError(f"{file}: is damaged: its SHA-256 is not the one in {CHECKSUMS}; fetch the data again")


def write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files and their checksums, each whole or not at all, the checksums last. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    (folder / CHECKSUMS).unlink(missing_ok=True)
    for name, content in {**contents, CHECKSUMS: json.dumps(sums, indent=2).encode()}.items():
        disk.replace(folder / name, content)
