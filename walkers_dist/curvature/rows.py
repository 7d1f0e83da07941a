"""The rows of a large matrix, kept in a folder while it is made: a kill costs a block of them, and several processes
that share a disk may make one matrix.

matrix                      which matrix it is
rows-00000320.safetensors   a finished block of rows, from this one on
claims                      byte k is locked by the process that makes block k; a dead process holds no lock

A block of another matrix, or a damaged one, is as if there were none.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.state import digest, read_state
from walkers_dist.records import disk
from walkers_dist.records.files import write_tensors

BLOCKS = 20
"""A kill costs at most one block: 5 % of a matrix, or 32 rows."""
ROWS = 32
"""A block has a multiple of so many rows."""
POLL = 0.2  # s
Make = Callable[[Tensor, int, int], object]
"""`(rows: [n, P], first, done)`: fill in the rows from `first` on of the matrix, of which `done` rows are there."""


class Kept:
    """The folder of one matrix [P, P], named by `key`."""

    def __init__(self, folder: Path, key: str, P: int) -> None:
        self.folder, self.key, self.P = folder, key, P
        step = ROWS * max(1, -(-P // (BLOCKS * ROWS)))
        self.blocks = [slice(at, min(at + step, P)) for at in range(0, P, step)]
        self._claims = folder / "claims"

    def begin(self) -> None:
        """Say which matrix is gathered here. UserError where that cannot be written."""
        with _named(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._claims.touch()
            if not self.is_this():
                disk.replace(self.folder / "matrix", self.key.encode())

    @staticmethod
    def waits(folder: Path) -> bool:
        """Whether some matrix is gathered in the folder."""
        return (folder / "matrix").exists()

    def is_this(self) -> bool:
        """Whether it is this matrix that is gathered in the folder."""
        try:
            return (self.folder / "matrix").read_bytes() == self.key.encode()
        except OSError:
            return False

    def gather(self, A: Tensor, make: Make) -> None:
        """Fill `A: [P, P]` with the rows that are there, and others by `make`; wait for those made elsewhere."""
        left, done = list(range(len(self.blocks))), 0
        while left:
            before = done
            for k in list(left):
                rows = A[self.blocks[k]]
                if self._is_read(k, rows) or self._is_made(k, rows, make, done):
                    left.remove(k)
                    done += len(rows)
            if done == before:
                self.begin()  # if somebody has removed it
                time.sleep(POLL)

    def help(self, like: Tensor, make: Make) -> int:
        """Make blocks that are missing and that nobody makes, on the device of `like` and in its dtype; how many."""
        made = 0
        for k, block in enumerate(self.blocks):
            if self.is_this() and not self._file(block).exists():
                made += self._is_made(k, like.new_empty(block.stop - block.start, self.P), make, 0)
        return made

    def remove(self) -> None:
        """Leave nothing: first of all the claims, so that nobody makes what is removed."""
        self._claims.unlink(missing_ok=True)
        for path in [*self.folder.glob("rows-*"), *self.folder.glob("matrix*")]:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds something else
            self.folder.rmdir()

    def _is_made(self, k: int, rows: Tensor, make: Make, done: int) -> bool:
        """Make block k here, in `rows`, and write it; False where another process makes it, or has made it."""
        with self._claim(k) as mine:
            if not mine or self._is_read(k, rows):
                return mine
            make(rows, self.blocks[k].start, done)
            tensors = {"rows": rows.cpu()}
            said = {"key": self.key, "sha256": digest(tensors)}
            with _named(self.folder):
                write_tensors(self._file(self.blocks[k]), tensors, {"rows": json.dumps(said)})
            return True

    def _is_read(self, k: int, rows: Tensor) -> bool:
        """Read block k into `rows`; False where it is not there."""
        found = read_state(self._file(self.blocks[k]), "rows")
        if found is None or found[0]["key"] != self.key or found[1]["rows"].shape != rows.shape:
            return False
        rows.copy_(found[1]["rows"])
        return True

    def _file(self, block: slice) -> Path:
        return self.folder / f"rows-{block.start:08d}.safetensors"

    @contextlib.contextmanager
    def _claim(self, k: int) -> Iterator[bool]:
        """Whether block k is for this process to make, as long as the context lasts."""
        try:
            claims = os.open(self._claims, os.O_RDWR)
        except FileNotFoundError:  # all is gathered, and removed
            yield False
            return
        try:
            yield _locked(claims, k) and self._claims.exists()
        finally:
            os.close(claims)


def _locked(file: int, k: int) -> bool:
    """Whether this process holds byte k now; on a disk without locks everybody does, and a block may be made twice."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, k)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def _named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{folder}: rows of the matrix cannot be kept there: {error.strerror}") from None
