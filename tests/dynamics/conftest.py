"""The real program, in this process: experiments given as mappings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import walkers_dist as wd


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., wd.Run]:
    """Runs an experiment in float64, without forces and with a snapshot of every step unless it says otherwise."""
    runs = 0

    def run(experiment: Mapping[str, Any]) -> wd.Run:
        nonlocal runs
        runs += 1
        keys = {
            "name": "dynamics", "dtype": "float64", "device": "cpu", "analysts": 0, "checkpoint": None,
            "snapshots": {"every": 1}, "coupling": None, **experiment,
        }  # fmt: skip
        return wd.run(keys, run_dir=tmp_path / f"run-{runs}", report=False)

    return run
