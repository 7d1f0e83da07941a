"""A start that is given: a point of another run's snapshot, or a safetensors file of a user's own.

A file holds one tensor [P], or tensors named as the module's `state_dict()` names them. It is read when the start is
first asked for: who only measures the surface does not need it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from walkers_dist.config.errors import UserError
from walkers_dist.landscape.model import Model
from walkers_dist.records import run_directory
from walkers_dist.records.index import step_folder
from walkers_dist.records.snapshots import read_snapshot, snapshot_index

if TYPE_CHECKING:
    from torch import nn

OF_A_RUN = re.compile(r"(?P<run>.+)@(?P<step>\d+)/(?P<walker>center|w\d+)", re.DOTALL)
ALLOWED = "must be RUN@STEP/WALKER, as in runs/a@100/center, or a safetensors file"


class StartFrom:
    """`landscape.init.from`. Raises `UserError`, naming it, where it holds no start for the model."""

    def __init__(self, value: str) -> None:
        self.value = value
        self.where = f"landscape.init.from = {value}"
        self.facts: dict[str, str] | None = None
        """What was read, for `run.json`: the value, the file's path and its SHA-256."""
        self._point: Tensor | None = None

    def point(self, model: Model, dtype: torch.dtype) -> Tensor:
        """The start [P] for this model, on the CPU; the same tensor each time."""
        if self._point is None:
            try:
                self._point = self._read(model, dtype)
            except UserError as error:
                raise UserError(f"{self.where}: {error}") from None
        return self._point

    def _read(self, model: Model, dtype: torch.dtype) -> Tensor:
        if of_a_run := OF_A_RUN.fullmatch(self.value):
            point = self._from_run(of_a_run["run"], int(of_a_run["step"]), of_a_run["walker"])
        else:
            tensors = self._from_file(Path(self.value).expanduser())
            module = model.module(torch.zeros(model.size, dtype=dtype))
            named = len(tensors) > 1 or not tensors.keys().isdisjoint(module.state_dict())
            point = flattened(module, tensors) if named else next(iter(tensors.values()))
        if tuple(point.shape) != (model.size,) or not point.is_floating_point():
            raise UserError(
                f"it is {_kind(point)}: must be real numbers of shape [{model.size}], as the model has them"
            )
        point = point.to(dtype)
        if wrong := int((~point.isfinite()).sum()):
            kind = str(dtype).removeprefix("torch.")
            raise UserError(f"{wrong} of its {len(point)} numbers are not finite in {kind}: all must be")
        return point

    def _from_run(self, path: str, step: int, walker: str) -> Tensor:
        run = run_directory.open(Path(path).expanduser())
        point = read_snapshot(run, step, walker)
        ((file, part),) = [(file, p) for file, p in snapshot_index(run).at(step).parts.items() if walker in p.walkers]
        self._note(step_folder(run.snapshots, step) / file, part.digest.sha256)
        return point

    def _from_file(self, path: Path) -> Mapping[str, Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            content = path.read_bytes()
        except (OSError, ValueError) as error:  # a name with a null byte is a ValueError
            raise UserError(f"{getattr(error, 'strerror', error)}; {ALLOWED}") from None
        try:
            tensors = load(content)
        except (SafetensorError, KeyError) as error:  # a dtype that torch does not have is a KeyError
            raise UserError(f"cannot be read as safetensors ({error}); {ALLOWED}") from None
        if not tensors:
            raise UserError("the file holds no tensors")
        self._note(path, hashlib.sha256(content).hexdigest())
        return tensors

    def _note(self, path: Path, sha256: str) -> None:
        self.facts = {"from": self.value, "file": str(path.absolute()), "sha256": sha256}


def flattened(module: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
    """The trained parameters of `module` [P] from tensors by the names of its `state_dict()`.

    A tied parameter may stand under any of its names. What is not trained, frozen parameters and buffers, belongs to
    the surface and not to the point: it may be left out, and must be the module's own where it is there.
    """
    own = module.state_dict(keep_vars=True)
    parameters = {id(p): name for name, p in module.named_parameters() if p.requires_grad}
    if unknown := sorted(tensors.keys() - own.keys()):
        raise UserError(f"it holds {_some(unknown)}: the model's tensors are {_some(list(own))}")
    found: dict[str, Tensor] = {}
    for name, value in sorted(tensors.items()):
        if value.shape != own[name].shape or value.is_floating_point() != own[name].is_floating_point():
            raise UserError(f"{name} is {_kind(value)}: must be {_kind(own[name])}")
        trained = parameters.get(id(own[name]))
        if trained is None and not _equal(value, own[name]):
            raise UserError(f"{name} is not trained, and differs from the model's own: it would be another surface")
        if trained is not None and not torch.equal(found.setdefault(trained, value), value):
            raise UserError(f"{name} differs from {trained}, which is the same parameter in the model")
    if missing := [name for name in parameters.values() if name not in found]:
        raise UserError(f"it lacks {_some(missing)} of the model's parameters")
    return torch.cat([found[name].to(own[name].dtype).flatten() for name in parameters.values()])


def _equal(value: Tensor, own: Tensor) -> bool:
    """In the precision of one of the two."""
    own = own.detach().cpu()
    return torch.equal(value.to(own.dtype), own) or torch.equal(own.to(value.dtype), value)


def _kind(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} of shape {list(value.shape)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= 6 else [*names[:5], f"… ({len(names)} in all)"])
