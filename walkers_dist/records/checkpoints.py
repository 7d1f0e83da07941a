"""Checkpoints: all that a resume needs, keyed by walker, so that other processes than those that wrote it can read it.

A part is one file per process. Its tensors are named `WALKER/NAME`; the coordinator's also carries the state that is
not tensors, as JSON. The last few checkpoints are kept, and an older one serves when the newest is damaged.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from walkers_dist.config.errors import UserError
from walkers_dist.records.files import Digest, read_metadata, read_tensors, write_tensors
from walkers_dist.records.index import Entry, Index, part_name, step_folder, step_of
from walkers_dist.records.parts import Parts
from walkers_dist.records.run_directory import RunDirectory

if TYPE_CHECKING:
    from torch import Tensor


def checkpoint_index(run: RunDirectory) -> Index:
    return Index(run.checkpoints / "index.jsonl")


def checkpoint_parts(run: RunDirectory, keep: int = 2) -> Parts:
    """What the coordinator collects: a whole checkpoint is added to the index, and all but the newest `keep` go."""
    return Parts(lambda entry: _seal(run, entry, keep))


def write_checkpoint(
    run: RunDirectory,
    step: int,
    process: str,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, object] | None = None,
) -> Digest:
    """Write this process's part: walker -> name -> tensor, and the coordinator's state (anything JSON can hold)."""
    flat = {f"{walker}/{name}": tensor for walker, named in tensors.items() for name, tensor in named.items()}
    metadata = None if state is None else {"state": json.dumps(state)}
    return write_tensors(step_folder(run.checkpoints, step) / part_name(process), flat, metadata)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint to resume from; `passed_over` says, a line each, which newer ones were damaged."""

    folder: Path
    entry: Entry
    passed_over: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        return self.entry.step

    @property
    def walkers(self) -> list[str]:
        """Who has tensors in it, the center included."""
        return self.entry.names

    def verify(self) -> None:
        """Raise UserError where a part is missing or damaged."""
        self.entry.verify(self.folder)

    def tensors(self, walkers: Collection[str]) -> dict[str, dict[str, Tensor]]:
        """Walker -> name -> tensor, from whichever parts hold them.

        Raises UserError where one of these parts is missing or damaged, or a walker is in none.
        """
        found: dict[str, dict[str, Tensor]] = {walker: {} for walker in walkers}
        for file, wanted in self.entry.files_of(walkers).items():
            tensors = read_tensors(self.folder / file, self.entry.parts[file].digest, wanted)
            for key, tensor in tensors.items():
                walker, name = key.split("/", 1)
                found[walker][name] = tensor
        return found

    def state(self) -> dict[str, Any]:
        """The coordinator's state, from whichever part carries it; call `verify` first."""
        texts = (read_metadata(self.folder / file).get("state") for file in self.entry.parts)
        state: dict[str, Any] = json.loads(next(text for text in texts if text is not None))
        return state


def open_checkpoint(run: RunDirectory, step: int) -> Checkpoint:
    """The checkpoint of a step, verified when its tensors are read. Raises UserError where there is none."""
    return Checkpoint(step_folder(run.checkpoints, step), checkpoint_index(run).at(step))


def newest_checkpoint(run: RunDirectory) -> Checkpoint | None:
    """The newest checkpoint whose every part is as it was written; None before the first one.

    Raises UserError when all are damaged.
    """
    damaged: list[str] = []
    for entry in reversed(checkpoint_index(run).entries()):
        checkpoint = Checkpoint(step_folder(run.checkpoints, entry.step), entry)
        try:
            checkpoint.verify()
        except UserError as error:
            damaged.append(str(error))
        else:
            return replace(checkpoint, passed_over=tuple(damaged))
    if damaged:
        raise UserError(f"{run.path}: every checkpoint is damaged: {'; '.join(damaged)}")
    return None


def _seal(run: RunDirectory, entry: Entry, keep: int) -> None:
    index = checkpoint_index(run)
    kept = [*(old for old in index.entries() if old.step < entry.step), entry][-keep:]
    index.replace(kept)
    # Also what a killed run left half written goes; later steps stay, a process may be writing one.
    steps = {old.step for old in kept}
    for folder in run.checkpoints.glob("step-*"):
        step = step_of(folder)
        if step < entry.step and step not in steps:
            shutil.rmtree(folder, ignore_errors=True)
