"""Snapshots: the points [P] of center and walkers at one step, one file per process."""

from __future__ import annotations

from collections.abc import Mapping
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
    entry = snapshot_index(run).at(step)
    (file,) = entry.files_of([walker])
    path = step_folder(run.snapshots, step) / file
    return read_tensors(path, entry.parts[file].digest, [walker], patience)[walker]
