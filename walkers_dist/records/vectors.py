"""Eigenvectors of both ends of a spectrum: a file for each step, walker and matrix, which says what it must be.

RUN/vectors/step-00000100/WALKER-MATRIX.safetensors

`top: [top, P]`, `bottom: [bottom, P]` are unit rows, ranked from the outer end as in eigenvalues.csv, in float32: what
rounding changes, 1e-7, is far below the angle by which a converged vector may be off, 1e-4 of the eigenvalue over its
distance to the next. `top_eigenvalues`, `bottom_eigenvalues` are in float64, nan where one has not converged. A walker
without a spectrum, because it diverged, has a file without rows.

The file's own digest stands in it, where the writer counted 64 zeros: files are written by several analysts, and none
of them writes a common index.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from walkers_dist.config.errors import UserError
from walkers_dist.records import layout
from walkers_dist.records.files import write_tensors
from walkers_dist.records.index import step_folder, step_of
from walkers_dist.records.run_directory import RunDirectory

if TYPE_CHECKING:
    from torch import Tensor

BLANK = "0" * 64
BEFORE = 8 + len('{"__metadata__": {"sha256": "')
DIGEST = slice(BEFORE, BEFORE + len(BLANK))
"""Where the digest lies in a file."""


@dataclass(frozen=True)
class Vectors:
    """Eigenvectors as unit rows with their eigenvalues, each end ranked from the outside."""

    top: Tensor  # [top, P]
    bottom: Tensor  # [bottom, P]
    top_eigenvalues: Tensor  # [top]
    bottom_eigenvalues: Tensor  # [bottom]


def no_vectors(P: int) -> Vectors:
    """Of a matrix that has none."""
    import torch

    return Vectors(torch.empty(0, P), torch.empty(0, P), torch.empty(0), torch.empty(0))


def write_vectors(run: RunDirectory, step: int, walker: str, matrix: str, vectors: Vectors) -> None:
    """Put the vectors of a matrix at a walker's point in their place, whole, for those that were there before."""
    import torch

    tensors = {
        "top": vectors.top.to(torch.float32),
        "bottom": vectors.bottom.to(torch.float32),
        "top_eigenvalues": vectors.top_eigenvalues.to(torch.float64),
        "bottom_eigenvalues": vectors.bottom_eigenvalues.to(torch.float64),
    }
    sha256 = hashlib.sha256()
    for part in layout.parts(tensors, {"sha256": BLANK}):
        sha256.update(part.data)
    write_tensors(_path(run, step, walker, matrix), tensors, {"sha256": sha256.hexdigest()})


def read_vectors(run: RunDirectory, step: int, walker: str, matrix: str, patience: float = 0.0) -> Vectors:
    """The vectors of a matrix at a walker's point, on the CPU.

    Raises UserError where there are none (after `patience` seconds: another node may have written them), or the file
    is damaged.
    """
    import torch

    path = _path(run, step, walker, matrix)
    deadline = time.monotonic() + patience
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        data = bytearray(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: is missing: no eigenvectors were kept of it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    digest, data[DIGEST] = bytes(data[DIGEST]), BLANK.encode()
    if hashlib.sha256(data).hexdigest().encode() != digest:
        raise UserError(f"{path}: is damaged: its SHA-256 is not that of what was written")
    tensors, _ = layout.read(torch.frombuffer(data, dtype=torch.uint8))
    return Vectors(**tensors)


def drop_vectors(run: RunDirectory, begin: int) -> None:
    """Forget the vectors of steps >= `begin`."""
    for folder in run.path.glob("vectors/step-*"):
        if step_of(folder) >= begin:
            shutil.rmtree(folder)


def _path(run: RunDirectory, step: int, walker: str, matrix: str) -> Path:
    return step_folder(run.path / "vectors", step) / f"{walker}-{matrix}.safetensors"
