"""Begin a run where another stands: at one of its steps, or at the midpoint of two of its points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from walkers_dist.api.opened import Run
from walkers_dist.api.running import start
from walkers_dist.roles.request import Request


def fork(
    run: str | Path | Run,
    step: int | None = None,
    overrides: Sequence[str] = (),
    *,
    run_dir: str | Path | None = None,
    in_process: bool = True,
    report: bool = True,
) -> Run:
    """Run on, in a new directory, from `step` of a run (by default its last checkpoint), and open it.

    The configuration is that of the run as it had been changed before `step`; any key may change by `overrides`, but
    there can be no more walkers, and no model of another size. Where the checkpoint of `step` is not kept, its
    snapshot serves, with zero momentum. Raises as `wd.run` does: `UserError` before anything is made.
    """
    request = Request(overrides=tuple(overrides), run_dir=_text(run_dir), report=report, fork=_path(run), step=step)
    return start(request, in_process)


def midpoint(
    run: str | Path | Run,
    a: str,
    b: str,
    step: int | None = None,
    overrides: Sequence[str] = (),
    *,
    run_dir: str | Path | None = None,
    in_process: bool = True,
    report: bool = True,
) -> Run:
    """Train one walker, without forces, from the spherical midpoint of the points `a` and `b` of a snapshot.

    The new run begins at step 0, with zero momentum, and has the keys that `run` had at `step` (by default the last
    snapshot), changed by `overrides`. Raises as `wd.run` does. Source: elementary-walkers, `train_on_mid_point`.
    """
    request = Request(
        overrides=tuple(overrides), run_dir=_text(run_dir), report=report, fork=_path(run), step=step, between=(a, b)
    )
    return start(request, in_process)


def _path(run: str | Path | Run) -> str:
    return str(run.path if isinstance(run, Run) else run)


def _text(path: str | Path | None) -> str | None:
    return str(path) if path else None
