"""A search for extreme eigenvalues kept in a file, so that a kill costs a few products and changes no bit.

The file holds the basis, the small matrix and the random stream; beside it, `.json` says what was searched and the
digest of the file. A state of another search, or a damaged one, is as if there were none.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch

from walkers_dist.config.errors import UserError
from walkers_dist.curvature.search import Check, Search
from walkers_dist.records import disk
from walkers_dist.records.files import Digest, read_tensors, write_tensors

SHARE = 0.05
"""Of the time of a search, that a kill may cost; and of it, that may be spent on writing."""


class SearchState:
    def __init__(self, path: Path, search: Search) -> None:
        self.path, self.search = path, search
        self.note = path.with_name(path.name + ".json")
        self.key = self._key()
        self._began = self._saved = time.perf_counter()
        self._writing = 0.0
        self._load()

    def save(self) -> None:
        """Write the search as it is, unless that was done just before."""
        now = time.perf_counter()
        if now - self._saved < max(SHARE * (now - self._began), self._writing / SHARE):
            return
        L, check = self.search.lanczos, self.search.check
        tensors = {"Q": L.Q[: L.n], "T": L.T[: L.n, : L.n], "random": L.generator.get_state()}
        if check:
            tensors["check"] = check.values
        digest = write_tensors(self.path, tensors)
        said = {
            "key": self.key,
            "sha256": digest.sha256,
            "size": digest.size,
            "waiting": L.waiting,
            "products": L.products,
            "scale": L.scale,
            "check": check.first if check else None,
        }
        disk.replace(self.note, json.dumps(said).encode())
        self._saved = time.perf_counter()
        self._writing = self._saved - now

    def remove(self) -> None:
        for path in (self.note, self.path):
            path.unlink(missing_ok=True)

    def _load(self) -> None:
        try:
            said = json.loads(self.note.read_bytes())
            if said["key"] != self.key:
                return
            tensors = read_tensors(self.path, Digest(said["sha256"], said["size"]))
        except (OSError, ValueError, KeyError, UserError):
            return
        L = self.search.lanczos
        L.n, L.waiting, L.products, L.scale = len(tensors["Q"]), said["waiting"], said["products"], said["scale"]
        L.Q[: L.n] = tensors["Q"].to(L.Q)
        L.T[: L.n, : L.n] = tensors["T"]
        L.generator.set_state(tensors["random"])
        if said["check"] is not None:
            self.search.check = Check(said["check"], tensors["check"])

    def _key(self) -> list[Any]:
        """What makes a search the same: the matrix as one product shows it, the start, what is wanted."""
        L, search = self.search.lanczos, self.search
        v = L.Q[:1].clone()
        seen = torch.cat([v, L.H(v)]).cpu().contiguous()
        name = hashlib.sha256(seen.view(torch.uint8).numpy().tobytes()).hexdigest()
        return [name, L.H.size, str(L.H.dtype), L.basis, search.top, search.bottom, search.tol]
