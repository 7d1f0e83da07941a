"""A search for extreme eigenvalues kept in a file, so that a kill costs a few products and changes no bit.

The file holds the basis, the small matrix and the random stream, and says what was searched and the digest of all of
them. A state of another search, or a damaged one, is as if there were none.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from walkers_dist.curvature.search import Check, Search
from walkers_dist.records.files import write_tensors

SHARE = 0.05
"""Of the time of a search, that a kill may cost; and of it, that may be spent on writing."""


class SearchState:
    def __init__(self, path: Path, search: Search) -> None:
        self.path, self.search = path, search
        self.key = self._key()
        self._began = self._saved = time.perf_counter()
        self._writing = 0.0
        self._load()

    def save(self) -> None:
        """Write the search, unless that was done just before."""
        now = time.perf_counter()
        if now - self._saved >= max(SHARE * (now - self._began), self._writing / SHARE):
            self.write()
            self._saved = time.perf_counter()
            self._writing = self._saved - now

    def write(self) -> None:
        """Write the search as it is."""
        L, check = self.search.lanczos, self.search.check
        tensors = {"Q": L.Q[: L.n], "T": L.T[: L.n, : L.n], "random": L.generator.get_state()}
        if check:
            tensors["check"] = check.values
        said = {
            "key": self.key,
            "sha256": digest(tensors),
            "waiting": L.waiting,
            "products": L.products,
            "scale": L.scale,
            "due": self.search.due,
            "swept": self.search.swept,
            "check": check.first if check else None,
        }
        write_tensors(self.path, tensors, {"search": json.dumps(said)})

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def _load(self) -> None:
        if (found := read_state(self.path, "search")) is None or found[0]["key"] != self.key:
            return
        (said, tensors), L = found, self.search.lanczos
        L.n, L.waiting, L.products, L.scale = len(tensors["Q"]), said["waiting"], said["products"], said["scale"]
        L.Q[: L.n] = tensors["Q"].to(L.Q)
        L.T[: L.n, : L.n] = tensors["T"]
        L.generator.set_state(tensors["random"])
        self.search.due, self.search.swept = said["due"], said["swept"]
        if said["check"] is not None:
            self.search.check = Check(said["check"], tensors["check"])

    def _key(self) -> list[Any]:
        """What makes a search the same: the matrix as one product shows it, the start, the stream, what is wanted."""
        L, search = self.search.lanczos, self.search
        v = L.Q[:1].clone()
        name = digest({"seen": torch.cat([v, L.H(v)]), "random": L.generator.get_state()})
        return [name, L.H.size, str(L.H.dtype), L.basis, search.top, search.bottom, search.tol]


def read_state(path: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """What a state says and holds; None where there is none, or not a whole one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {})[name])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return (said, tensors) if said["sha256"] == digest(tensors) else None
    except (OSError, ValueError, KeyError, SafetensorError):
        return None


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, kinds and numbers."""
    sha256 = hashlib.sha256()
    for name, t in sorted(tensors.items()):
        sha256.update(f"{name} {t.dtype} {list(t.shape)}".encode())
        sha256.update(t.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return sha256.hexdigest()
