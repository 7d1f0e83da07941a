"""Snapshots: the points [P] of center and walkers at one step, one file per process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from walkers_dist.records.files import Digest, read_tensors, write_tensors
from walkers_dist.records.index import Index, part_name, step_folder
from walkers_dist.records.parts import Parts
from walkers_dist.records.run_directory import RunDirectory

if TYPE_CHECKING:
    from torch import Tensor


def snapshot_index(run: RunDirectory) -> Index:
    return Index(run.snapshots / "index.jsonl")


def snapshot_parts(run: RunDirectory) -> Parts:
    """What the coordinator collects: a whole snapshot is added to the index."""
    return Parts(snapshot_index(run).append)


def write_snapshot(run: RunDirectory, step: int, process: str, points: Mapping[str, Tensor]) -> Digest:
    """Write this process's part: walker -> its point [P]."""
    return write_tensors(step_folder(run.snapshots, step) / part_name(process), points)


def snapshot_steps(run: RunDirectory) -> list[int]:
    """The steps that have a whole snapshot."""
    return [entry.step for entry in snapshot_index(run).entries()]


def read_snapshot(run: RunDirectory, step: int, walker: str, patience: float = 0.0) -> Tensor:
    """The point [P] of a walker (or `center`) at a step.

    Raises UserError for a step or walker that has none, and for a file that is missing (after `patience` seconds) or
    damaged.
    """
    return _read(run, step, [walker], patience)[walker]


def _read(run: RunDirectory, step: int, names: Sequence[str], patience: float) -> dict[str, Tensor]:
    entry = snapshot_index(run).at(step)
    points: dict[str, Tensor] = {}
    for file, inside in entry.files_of(names).items():
        path = step_folder(run.snapshots, step) / file
        points |= read_tensors(path, entry.parts[file].digest, inside, patience)
    return points


class Trajectory:
    """The snapshots of a run up to one step, as points of a landscape: see `config.kinds.Snapshots`."""

    def __init__(self, run: RunDirectory, step: int, like: Tensor, patience: float = 0.0) -> None:
        self.run, self.like, self.patience = run, like, patience
        entries = {entry.step: entry for entry in snapshot_index(run).entries() if entry.step <= step}
        if step not in entries:
            snapshot_index(run).at(step)  # says which steps there are
        self.steps = sorted(entries)
        self.names = sorted(entries[step].names, key=lambda name: (name != "center", len(name), name))

    def points(self, step: int, names: Sequence[str]) -> Tensor:
        """Points [len(names), P], in the type and on the device of `like`. Raises UserError as `read_snapshot` does."""
        import torch

        found = _read(self.run, step, names, self.patience)
        return torch.stack([found[name] for name in names]).to(self.like)
