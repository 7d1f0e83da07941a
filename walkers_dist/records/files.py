"""Files of named tensors (safetensors): written whole, and believed only when size and SHA-256 agree."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from walkers_dist.config.errors import UserError
from walkers_dist.records import disk, layout

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Digest:
    """What a file must be: its SHA-256 in hexadecimal and its size in bytes."""

    sha256: str
    size: int


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Digest:
    """Write the tensors (rows of one matrix may be among them) to `path`, making its folder; on the disk at return."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = disk.temporary_name(path)
    sha256 = hashlib.sha256()
    with temporary.open("wb", buffering=0) as file:
        for part in layout.parts(tensors, metadata or {}):
            disk.append(file.fileno(), part.data)
            sha256.update(part.data)
        os.fsync(file.fileno())
        digest = Digest(sha256.hexdigest(), file.tell())
    disk.put_in_place(temporary, path)
    return digest


def read_tensors(
    path: Path, digest: Digest, walkers: Collection[str] | None = None, patience: float = 0.0
) -> dict[str, Tensor]:
    """The tensors in a file, or those whose name is `WALKER` or `WALKER/…` for one of `walkers`, on the CPU.

    Raises UserError as `verify` does.
    """
    from safetensors import safe_open

    verify(path, digest, patience)
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if walkers is None or name.split("/")[0] in walkers]  # noqa: SIM118
        # A copy, because the file is mapped, and an old checkpoint is deleted by another node while we hold it.
        return {name: file.get_tensor(name).clone() for name in names}


def read_metadata(path: Path) -> dict[str, str]:
    """The texts written beside the tensors of a file that `verify` found good."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return dict(file.metadata() or {})


def verify(path: Path, digest: Digest, patience: float = 0.0) -> None:
    """Raise UserError, naming the file, where it is missing or is not what was written.

    A file that another node wrote may come into sight late: it is waited for, up to `patience` seconds.
    """
    _wait_for(path, digest.size, patience)
    try:
        with path.open("rb") as file:
            found = Digest(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())
    except FileNotFoundError:
        raise UserError(f"{path}: is missing") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if found.size != digest.size:
        raise UserError(f"{path}: is damaged: {found.size} bytes, {digest.size} were written")
    if found != digest:
        raise UserError(f"{path}: is damaged: its SHA-256 is not that of what was written")


def _wait_for(path: Path, size: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if path.stat().st_size == size:
                return
        except OSError:
            pass
        time.sleep(0.05)
