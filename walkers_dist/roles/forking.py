"""A new run that begins where another stands: at one of its steps, or at the midpoint of two of its points.

A fork goes on with the parent's configuration as it had been changed by that step, with whatever is overridden.
Midpoint training (elementary-walkers' `train_on_mid_point`) is a run of one walker, without forces, from step 0.
The new run directory holds a checkpoint of its first step before it is a run: all that follows is an ordinary resume.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from walkers_dist.config import merge
from walkers_dist.config.errors import UserError
from walkers_dist.config.kinds import Dynamics
from walkers_dist.config.landscape import QuadraticConfig
from walkers_dist.config.load import parse
from walkers_dist.config.schema import Experiment, check_points
from walkers_dist.landscape import Landscape
from walkers_dist.landscape.normals import Asked
from walkers_dist.probes.paths import points_between
from walkers_dist.records import run_directory
from walkers_dist.records.checkpoints import Checkpoint, checkpoint_index, open_checkpoint, write_checkpoint
from walkers_dist.records.index import Entry, Part, part_name
from walkers_dist.records.moments import Moment, moment, snapshot_moment
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tables import read_rows
from walkers_dist.roles.by_hand import experiment_at
from walkers_dist.roles.coordinator import ME
from walkers_dist.roles.request import Request
from walkers_dist.roles.walkers import COUPLING, DESCENT

Named = dict[str, dict[str, Tensor]]  # walker -> name -> tensor
PER_WALKER = ("optima", "start")
"""Keys of a quadratic that may hold a number for each walker."""


@dataclass(frozen=True)
class Fork:
    """`before` is the parent's experiment as it was at the moment, `experiment` the new one."""

    moment: Moment
    before: Experiment
    experiment: Experiment
    between: tuple[str, str] | None
    state: Mapping[str, Any]
    """What the coordinator begins with; no changes, for they are in the configuration, and there are no tables yet."""

    @property
    def begin(self) -> int:
        return 0 if self.between else self.moment.step

    @property
    def parent(self) -> dict[str, Any]:
        """What `run.json` says of where the run comes from."""
        whence = {"between": list(self.between)} if self.between else {"from": self.moment.kind}
        return {"run": str(self.moment.run.path.absolute()), "step": self.moment.step, **whence}

    @property
    def modules(self) -> list[str]:
        """Where the parent found the user's own modules."""
        return list(self.moment.run.read_info().get("modules", []))

    # ---- what is possible -------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise UserError where the new experiment cannot begin there, as far as its configuration tells."""
        new, old = self.experiment, self.before
        if self.between and new.walkers != 1:
            raise UserError(f"walkers = {new.walkers}: must be 1, the walker that begins at the midpoint")
        if not self.between and new.walkers > old.walkers:
            raise UserError(f"walkers = {new.walkers}: must be at most {old.walkers}, as many as go on from there")
        if new.steps < self.begin:
            raise UserError(f"steps = {new.steps}: must be at least {self.begin}, where the fork begins")
        for number, entry in enumerate(new.schedule):
            if entry.at < self.begin:
                raise UserError(f"schedule.{number}.at = {entry.at}: must be at least {self.begin}, where it begins")

    def check_points(self, landscape: Landscape) -> None:
        """Raise UserError where the points are not of this landscape, or have no midpoint."""
        names = self.between or ("w0",)
        for name, named in self.moment.tensors(names).items():
            if len(named["x"]) != landscape.size:
                raise UserError(
                    f"the points of {self.moment.run.path} have {len(named['x'])} parameters, and those of the "
                    f"landscape {landscape.size}: must be as many"
                )
            if self.between and not named["x"].isfinite().all():
                raise UserError(f"between = {name}: is not finite at step {self.moment.step}")

    def notes(self) -> Iterator[str]:
        """What the user should know of the beginning, a line each."""
        for line in self.moment.passed_over:
            yield f"warning: {line}; beginning at the {self.moment.kind} of step {self.moment.step}"
        if not self.between:
            yield from self._losses()
        new = self.experiment
        if new.steps == self.begin or self.state.get("stopped"):
            yield f"the run ends at step {self.begin}, where it begins: a larger steps, or another stop, takes it on"

    def _losses(self) -> Iterator[str]:
        step, new, old = self.moment.step, self.experiment, self.before
        if self.moment.kind == "snapshot":
            yield f"step {step} has no checkpoint: the fork begins at its snapshot, with zero momentum"
        elif _remembers(old.dynamics) and not self._dynamics_go_on():
            yield f"dynamics.name = {new.dynamics.name}: what {old.dynamics.name} remembered is dropped"
        if new.has_center and not old.has_center:
            yield f"{self.moment.run.path} has no center: it begins at the mean of the walkers"

    # ---- the first checkpoint ---------------------------------------------------------------------------------

    def write(self, run: RunDirectory, landscape: Landscape) -> Checkpoint:
        """Write the checkpoint of the first step of the new run. Raises UserError where a file is damaged by now."""
        parts, starts = {}, []
        for file, named in self._parts(landscape):
            named = {
                walker: {key: _converted(v, landscape.dtype) for key, v in n.items()} for walker, n in named.items()
            }
            starts += [inner["x"] for inner in named.values() if "x" in inner]
            digest = write_checkpoint(run, self.begin, file.removesuffix(".safetensors"), named)
            parts[file] = Part(digest, tuple(named))
        if self._center_goes_on():
            center = _converted(self.moment.tensors(["center"])["center"]["x"], landscape.dtype)
        else:
            center = (sum(x.double() for x in starts) / len(starts)).to(landscape.dtype)  # type: ignore[union-attr]
        digest = write_checkpoint(run, self.begin, ME, {"center": {"x": center}}, self.state)
        parts[part_name(ME)] = Part(digest, ("center",))
        checkpoint_index(run).append(Entry(self.begin, dict(sorted(parts.items()))))
        return open_checkpoint(run, self.begin)

    def _center_goes_on(self) -> bool:
        """Whether there is one to go on; a lone walker's checkpoint holds one that nobody has moved."""
        wanted = self.before.has_center or not self.experiment.has_center
        return wanted and not self.between and "center" in self.moment.entry.names

    def _parts(self, landscape: Landscape) -> Iterator[tuple[str, Named]]:
        """The walkers that go on, with as much of what they remember as the new experiment can use."""
        if self.between:
            found = self.moment.tensors(self.between)
            a, b = (found[name]["x"].double() for name in self.between)
            (x,) = points_between(a, b, torch.tensor([0.5], dtype=a.dtype), "spherical")
            yield part_name("walkers 0"), {"w0": {"x": x}}
            return
        names = [*self.experiment.walker_names, COUPLING, DESCENT]
        for file, named in self.moment.parts(names):
            going = {walker: self._kept(walker, inner) for walker, inner in named.items()}
            if going := {walker: inner for walker, inner in going.items() if inner}:
                yield file, going

    def _kept(self, walker: str, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of what the parent's checkpoint has under this name."""
        coupling, dynamics = self.experiment.coupling, self._dynamics_go_on()
        same = coupling.name == self.before.coupling.name and self._clocks_go_on()
        if walker == DESCENT:
            return dict(named) if dynamics and coupling.descends else {}
        if walker == COUPLING:
            return dict(named) if same else {}
        goes_on = {"x": True, "dynamics": dynamics, "coupling": same}
        return {key: value for key, value in named.items() if goes_on[key.partition(".")[0]]}

    def _dynamics_go_on(self) -> bool:
        """Whether the new dynamics can use what the old ones remember."""
        new, old = self.experiment.dynamics, self.before.dynamics
        return self._clocks_go_on() and (new.name == old.name or _remembers(new) == _remembers(old))

    def _clocks_go_on(self) -> bool:
        """Whether a step is to the walkers what it was; among those that take turns some may remember less."""
        return self.experiment.exchange.order == self.before.exchange.order


def forked(request: Request) -> Fork:
    """What the request asks for, found possible as far as the configuration tells. Raises UserError."""
    assert request.fork is not None
    parent, between = run_directory.open(request.fork), request.between
    found = snapshot_moment(parent, request.step) if between else moment(parent, request.step)
    before = experiment_at(parent, found.step - 1)
    if between:
        check_points("between", between, before.point_names)
    keys = _keys_of_midpoint(before) if between else _keys_of_fork(before, found.step, request.overrides)
    experiment = parse(merge.merged(keys, request.overrides), name_default=before.name)
    fork = Fork(found, before, experiment, between, {"elapsed": 0.0} if between else _state(found, request.overrides))
    fork.check()
    return fork


def _state(moment: Moment, overrides: Sequence[str]) -> dict[str, Any]:
    state = moment.state()
    # What a rule has decided is still to be carried out, unless this is another experiment.
    decided = {} if overrides else {key: state.get(key) for key in ("stop", "stopped")}
    return {**decided, "elapsed": state["elapsed"] if state else _elapsed(moment)}


def _elapsed(moment: Moment) -> float:
    rows = read_rows(moment.run.table("results"))
    return max((float(row["elapsed"]) for row in rows if int(row["step"]) <= moment.step), default=0.0)


def _keys_of_fork(before: Experiment, step: int, overrides: Sequence[str]) -> dict[str, Any]:
    keys = before.model_dump()
    keys["schedule"] = [entry.model_dump() for entry in before.schedule if entry.at >= step]
    asked = [value for key, value in map(merge.split, overrides) if key == "walkers"]
    if asked and isinstance(asked[-1], int) and 0 < asked[-1] < before.walkers:
        _keep_walkers(keys, before, asked[-1])
    return keys


def _keys_of_midpoint(before: Experiment) -> dict[str, Any]:
    """The parent's as they were, without what is said of other points or of later steps."""
    keys = before.model_dump() | {"walkers": 1, "coupling": None, "schedule": []}
    keys["name"] = f"{before.name[:90]}-midpoint"
    _keep_walkers(keys, before, 1)
    if before.curvature:
        keys["curvature"]["of"] = ["w0"]
    if before.stop:
        keys["stop"]["of"] = "mean"
    for name, probe in before.probes_of_snapshots.items():
        for key, points in probe.points_named().items():
            if keys["probes"][name] and list(points) != ["w0"]:
                keys["probes"][name] = {**keys["probes"][name], key: ["w0"]} if key == "of" else None
    return keys


def _keep_walkers(keys: dict[str, Any], before: Experiment, walkers: int) -> None:
    """Leave numbers for the first walkers alone."""
    if isinstance(before.landscape, QuadraticConfig):
        for key in PER_WALKER:
            value = keys["landscape"][key]
            keys["landscape"][key] = value[:walkers] if isinstance(value, list | tuple) else value


def _remembers(dynamics: Dynamics) -> set[str]:
    """The names of what it remembers after a few steps, tried on a small bowl."""
    X, state = torch.ones(1, 2), dict[str, Tensor]()
    for t in range(3):
        g = dynamics.gradient(X, Asked(torch.clone, torch.zeros(1, dtype=torch.int64), t), state, t)
        dynamics.move(X, g, state, t)
    return set(state)


def _converted(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value
