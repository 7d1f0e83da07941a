"""A step of a run that another run can begin at: its checkpoint, where that is kept, or else its snapshot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from walkers_dist.config.errors import UserError
from walkers_dist.records.checkpoints import Checkpoint, checkpoint_index, newest_checkpoint
from walkers_dist.records.files import read_tensors
from walkers_dist.records.index import Entry, step_folder
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.snapshots import snapshot_index

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Moment:
    """`passed_over` says, a line each, which better ones were damaged."""

    run: RunDirectory
    kind: Literal["checkpoint", "snapshot"]
    entry: Entry
    passed_over: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        return self.entry.step

    @property
    def folder(self) -> Path:
        return step_folder(self.run.checkpoints if self.kind == "checkpoint" else self.run.snapshots, self.step)

    def tensors(self, names: Collection[str]) -> dict[str, dict[str, Tensor]]:
        """Walker -> name -> tensor; of a snapshot, all there is are points [P], named `x`. Raises UserError."""
        if self.kind == "checkpoint":
            return Checkpoint(self.folder, self.entry).tensors(names)
        found: dict[str, dict[str, Tensor]] = {}
        for file, inside in self.entry.files_of(names).items():
            points = read_tensors(self.folder / file, self.entry.parts[file].digest, inside)
            found |= {name: {"x": points[name]} for name in inside}
        return found

    def parts(self, names: Collection[str]) -> Iterator[tuple[str, dict[str, dict[str, Tensor]]]]:
        """What one process after another wrote of these walkers: its file's name, and its tensors."""
        for file, part in self.entry.parts.items():
            if inside := [name for name in part.walkers if name in names]:
                yield file, self.tensors(inside)

    def state(self) -> Mapping[str, Any]:
        """What the coordinator's part of a checkpoint says beside the center; of a snapshot, nothing."""
        if self.kind == "snapshot":
            return {}
        try:
            return Checkpoint(self.folder, self.entry).state()
        except OSError as error:  # a run that goes on deletes its old checkpoints
            raise UserError(f"{self.folder}: cannot be read: {error.strerror}") from None


def moment(run: RunDirectory, step: int | None = None) -> Moment:
    """The run at `step`, by default at its last checkpoint (at its last snapshot, where it has no checkpoint).

    Every part has been found whole. Raises UserError where there is no such step, or what there is of it is damaged.
    """
    if step is None and (newest := newest_checkpoint(run)):
        return Moment(run, "checkpoint", newest.entry, newest.passed_over)
    checkpoints, snapshots = checkpoint_index(run).entries(), snapshot_index(run).entries()
    if step is None:
        step = snapshots[-1].step if snapshots else 0
    found = [Moment(run, "checkpoint", entry) for entry in checkpoints if entry.step == step]
    found += [Moment(run, "snapshot", entry) for entry in snapshots if entry.step == step]
    damaged: list[str] = []
    for one in found:
        try:
            one.entry.verify(one.folder)
        except UserError as error:
            damaged.append(str(error))
        else:
            return Moment(run, one.kind, one.entry, tuple(damaged))
    if damaged:
        raise UserError("; ".join(damaged))
    there = f"checkpoints {some(checkpoints)} and snapshots {some(snapshots)}"
    raise UserError(f"step {step}: {run.path} has no checkpoint and no snapshot of it; there are {there}")


def snapshot_moment(run: RunDirectory, step: int | None = None) -> Moment:
    """The snapshot of `step`, by default the last; raises as `moment` does."""
    snapshots = snapshot_index(run).entries()
    for entry in snapshots[::-1]:
        if step is None or entry.step == step:
            found = Moment(run, "snapshot", entry)
            entry.verify(found.folder)
            return found
    asked = "" if step is None else f"step {step}: "
    raise UserError(f"{asked}{run.path} has no snapshot{' of it' if asked else ''}; there are {some(snapshots)}")


def some(entries: Sequence[Entry]) -> str:
    """The steps of these entries, the middle left out where they are many."""
    steps = [str(entry.step) for entry in entries]
    return ", ".join(steps if len(steps) <= 8 else [*steps[:3], "…", *steps[-3:]]) or "none"
