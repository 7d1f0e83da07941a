"""First-order probes of a run that has ended: what its analyst would have measured, at any snapshot, at any time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from walkers_dist.api.opened import Run
from walkers_dist.config import merge
from walkers_dist.config.choice import Choice
from walkers_dist.config.errors import UserError
from walkers_dist.config.kinds import Probe
from walkers_dist.config.registry import KINDS
from walkers_dist.config.schema import check_probe
from walkers_dist.distributed import devices
from walkers_dist.landscape import build
from walkers_dist.records.journal import Journal
from walkers_dist.records.tables import merge_rows
from walkers_dist.roles.tasks import probe_at

Steps = Sequence[int] | int | str


def probe(
    run: str | Path | Run,
    kind: str,
    overrides: Sequence[str] = (),
    *,
    steps: Steps = "last",
    tell: Callable[[str], None] | None = None,
) -> Run:
    """Measure a probe at snapshots of a run and put its rows into the run's tables, in order of steps.

    `overrides` are keys of the probe, `key=value`; what they leave out is as in the run's configuration, or as the
    defaults. `steps` is `last`, `all`, or steps that have a snapshot. Rows of an equal measurement are replaced.
    Raises UserError, before anything is changed, for a wrong kind, key, value or step, and while the run goes on.
    """
    run = run if isinstance(run, Run) else Run(run)
    wanted = configured(run, kind, overrides)
    chosen = steps_of(run, steps)
    experiment = run.config
    run.directory.claim()
    try:
        devices.set_up_process(experiment.threads)
        landscape = build(experiment.landscape, seed=experiment.seed, dtype=torch.float64)
        for step in chosen:
            found = probe_at(run.directory, landscape, wanted, step, experiment.seed)
            with Journal(run.directory).rewriting():
                for name, rows in found.items():
                    merge_rows(run.directory.table(name), name, rows)
            if tell:
                tell(f"{kind} at step {step}")
    finally:
        run.directory.release()
    return run


def configured(run: Run, kind: str, overrides: Sequence[str]) -> Probe:
    """The probe with these keys. Raises UserError."""
    if kind not in KINDS["probe"]:
        raise UserError(f"{kind}: is no probe; there are {', '.join(KINDS['probe'])}")
    experiment = run.config
    own = getattr(experiment.probes, kind, None)
    keys = own.model_dump(exclude={"name"}) if own else {}
    for word in overrides:
        merge.put(keys, *merge.split(word))
    found = Choice(f"probes.{kind}", "probe", kind, fixed=True).validate(keys, Probe)
    assert isinstance(found, Probe)
    check_probe(f"probes.{kind}", found, experiment.point_names)
    return found


def steps_named(text: str) -> Sequence[int] | str:
    """`last`, `all`, or steps as `0,100`. Raises UserError."""
    if text in ("last", "all"):
        return text
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--steps {text}: must be last, all, or steps like 0,100") from None


def steps_of(run: Run, asked: Steps) -> list[int]:
    """The steps asked for, ascending. Raises UserError where one has no snapshot."""
    there = run.steps
    if not there:
        raise UserError(f"{run.path}: has no snapshot")
    if asked == "last":
        return there[-1:]
    if asked == "all":
        return there
    if isinstance(asked, str):
        raise UserError(f"steps = {asked}: must be last, all, or steps that have a snapshot")
    asked = [asked] if isinstance(asked, int) else asked
    if not asked:
        raise UserError("steps = []: must name a step")
    for step in asked:
        if step not in there:
            shown = there if len(there) <= 8 else [*there[:4], "…", *there[-2:]]
            raise UserError(f"steps = {step}: has no snapshot; there are {', '.join(map(str, shown))}")
    return sorted(set(asked))
