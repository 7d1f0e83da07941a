"""A run read back from its directory: tables as data frames, snapshots as points, the landscape they lie on."""

from __future__ import annotations

import glob
import io
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from walkers_dist.config.errors import UserError
from walkers_dist.records import disk, run_directory, snapshots, vectors
from walkers_dist.records.experiment import experiment_of
from walkers_dist.records.tables import COLUMNS
from walkers_dist.records.vectors import Vectors

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from walkers_dist.config.schema import Experiment
    from walkers_dist.landscape.base import Landscape

WORDS = {
    "results": ("walker",),
    "distances": ("a", "b"),
    "interpolations": ("a", "b", "path"),
    "planes": ("plane",),
    "plane_points": ("plane", "walker"),
    "explorations": ("walker",),
    "sharpness": ("walker", "formula"),
    "averages": ("kind", "members"),
    "eigenvalues": ("walker", "matrix", "side"),
    "density": ("walker", "matrix"),
    "curvature": ("walker", "matrix", "quantity"),
    "events": ("source", "key", "old", "new"),
}
"""The columns of each table that hold words; all others hold numbers."""


def open_run(path: str | Path) -> Run:
    """The run in the directory `path`. Raises UserError where there is none."""
    return Run(path)


def runs(pattern: str) -> Runs:
    """Every run whose directory matches the glob `pattern`, in the order of their names.

    Raises UserError where nothing that matches is a run.
    """
    found = [Run(path) for path in sorted(glob.glob(pattern)) if (Path(path) / "run.json").is_file()]
    if not found:
        raise UserError(f"runs: no run directory matches {pattern!r}")
    return Runs(found)


def runs_of(words: Iterable[str]) -> Runs:
    """The runs that these words name: run directories, and patterns of such. Raises UserError."""
    found: dict[Path, Run] = {}
    for word in words:
        is_pattern = glob.has_magic(word) and not Path(word).exists()
        for run in runs(word) if is_pattern else [open_run(word)]:
            found.setdefault(run.path.resolve(), run)
    return Runs(list(found.values()))


def read_table(path: Path, name: str) -> pd.DataFrame:
    """A table in a file; without rows, but with its columns, where there is none.

    A last line that is still being written is left out. Floats come back with the bits that were written.
    """
    import pandas as pd

    lines = disk.whole_lines(path.read_bytes()) if path.is_file() else b""
    lines = lines or (",".join(COLUMNS[name]) + "\n").encode()
    words = dict.fromkeys(WORDS[name], "str")
    version = tuple(map(int, pd.__version__.split(".")[:2]))
    exact = {} if version >= (3, 1) else {"float_precision": "round_trip"}  # pandas 3.1 always is, and says so
    frame = pd.read_csv(io.BytesIO(lines), dtype=words, **exact)  # type: ignore[call-overload]
    if frame.empty:  # a column without values has no type of its own
        frame = frame.astype({column: "float64" for column in frame.columns if column not in words})
    return frame


class Tables:
    """The tables of one or of many runs, read anew at each use, so that a living run can be followed."""

    def table(self, name: str) -> pd.DataFrame:
        raise NotImplementedError

    @property
    def results(self) -> pd.DataFrame:
        """One row per step and walker: losses, gradient norms, accuracies."""
        return self.table("results")

    @property
    def distances(self) -> pd.DataFrame:
        """One row per step and pair: Euclidean distance and cosine."""
        return self.table("distances")

    @property
    def interpolations(self) -> pd.DataFrame:
        """One row per step, pair and point of its path: from `a` at t = 0 to `b` at t = 1."""
        return self.table("interpolations")

    @property
    def planes(self) -> pd.DataFrame:
        """One row per step, plane and grid point (u, v): losses and accuracies."""
        return self.table("planes")

    @property
    def plane_points(self) -> pd.DataFrame:
        """One row per step, plane, walker and point of its path: where it lies, how far off, its true loss."""
        return self.table("plane_points")

    @property
    def explorations(self) -> pd.DataFrame:
        """One row per step, random walk and move."""
        return self.table("explorations")

    @property
    def sharpness(self) -> pd.DataFrame:
        """One row per step, walker and formula."""
        return self.table("sharpness")

    @property
    def averages(self) -> pd.DataFrame:
        """One row per step and kind of average: uniform and greedy soup, ensemble."""
        return self.table("averages")

    @property
    def eigenvalues(self) -> pd.DataFrame:
        """One row per step, walker, matrix, side and rank."""
        return self.table("eigenvalues")

    @property
    def density(self) -> pd.DataFrame:
        """One row per step, walker, matrix, probe and node: the density of a spectrum, to be smoothed at will."""
        return self.table("density")

    @property
    def curvature(self) -> pd.DataFrame:
        """One row per step, walker, matrix and quantity: trace, norm, counts, overlaps, with their errors.

        Their names: `curvature/quantities.py` and `roles/overlaps.py`.
        """
        return self.table("curvature")

    @property
    def events(self) -> pd.DataFrame:
        """One row per change, fault or stop; `old` and `new` are text."""
        return self.table("events")


class Run(Tables):
    """One run directory. Everything is read when it is asked for; nothing is ever written."""

    def __init__(self, path: str | Path) -> None:
        self.directory = run_directory.open(path)
        self.path = self.directory.path

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status})"

    @cached_property
    def config(self) -> Experiment:
        """The experiment as it was started, every default written out."""
        return experiment_of(self.directory)

    @property
    def info(self) -> dict[str, Any]:
        """What `run.json` holds now: status, owner, plan, versions, times."""
        return self.directory.read_info()

    @property
    def status(self) -> str:
        """running, paused, analysing, done, interrupted or failed."""
        return str(self.info.get("status", "unknown"))

    def table(self, name: str) -> pd.DataFrame:
        """The table `name`.csv; without rows, but with its columns, where the run has none."""
        return read_table(self.directory.table(name), name)

    @property
    def steps(self) -> list[int]:
        """The steps that have a complete snapshot, ascending."""
        return snapshots.snapshot_steps(self.directory)

    def snapshot(self, step: int, walker: str) -> Tensor:
        """The point [P] of `walker` at `step`. Raises UserError where it is not there, or damaged."""
        return snapshots.read_snapshot(self.directory, step, walker)

    @cached_property
    def landscape(self) -> Landscape:
        """The surface this run moved on, on the CPU, where snapshots are read to."""
        from walkers_dist import landscape

        return landscape.build(self.config.landscape, seed=self.config.seed, dtype=self.config.dtype)

    def vectors(self, step: int, walker: str, matrix: str = "hessian") -> Vectors:
        """The eigenvectors that were kept of a matrix: `.top [top, P]`, `.bottom [bottom, P]`, and their eigenvalues.

        Raises UserError where none are there, or the file is damaged.
        """
        return vectors.read_vectors(self.directory, step, walker, matrix)

    def model(self, step: int, walker: str) -> nn.Module:
        """The network of `walker` at `step`. Raises UserError where the landscape is not that of a network."""
        return self.landscape.module(self.snapshot(step, walker))


class Runs(Tables):
    """Several runs as one: a sequence of `Run`, whose tables are one below the other with a column `run`."""

    def __init__(self, members: list[Run]) -> None:
        self.members = members

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.members)

    def __getitem__(self, index: int) -> Run:
        return self.members[index]

    def __repr__(self) -> str:
        return f"Runs({[run.path.name for run in self.members]})"

    def table(self, name: str) -> pd.DataFrame:
        """The tables `name`.csv of all runs; `run`, the name of the run's directory, is the first column."""
        import pandas as pd

        parts = []
        for run in self.members:
            part = run.table(name)
            part.insert(0, "run", run.path.resolve().name)
            parts.append(part)
        filled = [part for part in parts if len(part)] or parts[:1]  # an empty frame would spoil the others' types
        return pd.concat(filled, ignore_index=True)

    def compare(self, by: str | None = None) -> pd.DataFrame:
        """One row per run: the keys in which they differ, and their last figures; see `api.comparing`.

        With `by`, a dotted key of the configuration: one row per value of it, the mean over its runs and, in columns
        that end in `_std`, the standard deviation. Raises UserError where no run has this key.
        """
        from walkers_dist.api.comparing import compare

        return compare([run.directory for run in self.members], by)
