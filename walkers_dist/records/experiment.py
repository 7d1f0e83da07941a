"""The experiment that a run directory holds, with the user's own modules found where they were when it was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from walkers_dist.config.load import load
from walkers_dist.config.registry import make_importable
from walkers_dist.config.schema import Experiment
from walkers_dist.records.run_directory import RunDirectory


def experiment_of(run: RunDirectory, overrides: Sequence[str] = ()) -> Experiment:
    """The configuration of a run, with every default in it. Raises UserError."""
    for folder in run.read_info().get("modules", []):
        make_importable(Path(folder))
    return load(run.config, overrides)
