"""The experiment: every key of a configuration, its type, its default and what must hold between keys."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from walkers_dist.config import formula
from walkers_dist.config.choice import Choice
from walkers_dist.config.errors import UserError
from walkers_dist.config.kinds import Coupling, Dynamics, Period, Probe
from walkers_dist.config.landscape import (
    LANDSCAPE,
    CustomLandscape,
    LandscapeConfig,
    NetworkConfig,
    QuadraticConfig,
    Section,
)
from walkers_dist.config.text import inline

DYNAMICS = Choice("dynamics", "dynamics", "sgd")
COUPLING = Choice("coupling", "coupling", "easgd", null="none")


def _probe(name: str) -> Choice:
    return Choice(f"probes.{name}", "probe", name, fixed=True)


Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Timeouts(Section):
    """Seconds: to meet at the start, and of silence after which a process counts as lost."""

    start: Seconds = 300.0
    silence: Seconds = 60.0


class ExchangeConfig(Section):
    """`layout`: how walkers and center meet; collective says that all walkers do at once, as auto does where it can.

    `order`: null is all walkers in every step. In round_robin a step is a tick in which walker t mod p moves alone, in
    one process.
    """

    layout: Literal["auto", "collective"] = "auto"
    order: Literal["round_robin"] | None = None
    timeouts: Timeouts = Timeouts()
    on_failure: Literal["stop"] = "stop"
    on_divergence: Literal["stop", "isolate"] = "stop"


class ScheduleEntry(Section):
    at: Count
    set: Annotated[dict[str, object], Field(min_length=1)]


class StopConfig(Section):
    metric: Literal["train_loss", "train_grad_norm"] = "train_grad_norm"
    of: Literal["center", "mean", "all"] = "mean"
    below: Annotated[float, Field(allow_inf_nan=False)] = 1e-4


class LogConfig(Section):
    every: Period = 10


class SnapshotsConfig(Section):
    every: Period = 100


class CheckpointConfig(Section):
    every: Period = 200
    keep: Size = 2


class ProbesConfig(Section):
    distances: Annotated[Probe, _probe("distances")] | None = None
    interpolation: Annotated[Probe, _probe("interpolation")] | None = None
    plane: Annotated[Probe, _probe("plane")] | None = None
    walk: Annotated[Probe, _probe("walk")] | None = None
    sharpness: Annotated[Probe, _probe("sharpness")] | None = None
    average: Annotated[Probe, _probe("average")] | None = None

    @property
    def of_snapshots(self) -> dict[str, Probe]:
        """Those that are the analyst's work, in the order of their names here."""
        probes = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: probe for name, probe in probes.items() if probe is not None and not probe.live}


class DensityConfig(Section):
    """Of the spectrum: so many random probes, so many products for each."""

    probes: Size = 4
    steps: Size = 60


class CurvatureConfig(Section):
    """`matrix`: the Hessian, its Gauss-Newton part, and the residual between the two.

    `vectors`: those of `top` and `bottom` are kept in files, and overlaps of the top ones measured.
    `lr`: the learning rate, as a formula of the Hessian's largest eigenvalue (of the center, or of the first in `of`);
    set while it trains, as it is measured.
    """

    every: Period = 100
    of: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("center", "w0")
    matrix: Annotated[tuple[Literal["hessian", "ggn", "residual"], ...], Field(strict=False, min_length=1)] = (
        "hessian",
    )
    top: Count = 5
    bottom: Count = 3
    vectors: bool = False
    density: DensityConfig | None = None
    full: Literal["never", "at_end", "always"] = "at_end"
    lr: Annotated[str, AfterValidator(formula.check)] | None = None

    @model_validator(mode="after")
    def _rate_from_something(self) -> CurvatureConfig:
        if self.lr is not None and not (self.top and "hessian" in self.matrix):
            raise ValueError(f"lr = {self.lr} needs top of at least 1, and hessian in matrix")
        return self

    @model_validator(mode="after")
    def _vectors_of_something(self) -> CurvatureConfig:
        if self.vectors and not (self.top or self.bottom):
            raise ValueError("vectors = true needs top or bottom above 0: those are the vectors that are kept")
        return self


class ControlConfig(Section):
    """`bind`: where `walkers ctl` reaches the run, from this machine alone or from all that reach its host."""

    bind: Literal["loopback", "host"] = "loopback"
    every: Period = 10


def _names_a_folder(name: str) -> str:
    if not name.isprintable() or "/" in name or len(name) > 100 or name.strip(" .") == "":
        raise ValueError("must be the start of a folder's name, at most 100 characters and no /")
    return name


class Experiment(Section):
    name: Annotated[str, AfterValidator(_names_a_folder)]
    seed: Count = 0
    threads: Size = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    landscape: Annotated[LandscapeConfig, LANDSCAPE] = NetworkConfig()
    walkers: Size = 4
    walkers_per_process: Size | Literal["auto"] = "auto"
    analysts: Count = 1
    steps: Count = 1000
    dynamics: Annotated[Dynamics, DYNAMICS] = Field(default={"name": "sgd"}, validate_default=True)
    coupling: Annotated[Coupling, COUPLING] = Field(default=None, validate_default=True)
    exchange: ExchangeConfig = ExchangeConfig()
    schedule: Annotated[tuple[ScheduleEntry, ...], Field(strict=False)] = ()
    stop: StopConfig | None = None
    log: LogConfig = LogConfig()
    snapshots: SnapshotsConfig | None = SnapshotsConfig()
    checkpoint: CheckpointConfig | None = CheckpointConfig()
    probes: ProbesConfig | None = None
    curvature: CurvatureConfig | None = None
    control: ControlConfig = ControlConfig()
    at_end: Literal["wait", "leave"] = "wait"

    @property
    def walker_names(self) -> list[str]:
        return [f"w{i}" for i in range(self.walkers)]

    @property
    def point_names(self) -> list[str]:
        """What a snapshot holds: the center, where there is one, then the walkers."""
        return ["center"] * self.has_center + self.walker_names

    @property
    def probes_of_snapshots(self) -> dict[str, Probe]:
        return self.probes.of_snapshots if self.probes else {}

    @property
    def has_center(self) -> bool:
        """A single walker without forces has no center beside it."""
        return self.walkers > 1 or not self.coupling.follows_mean

    def clock(self, t: int) -> int:
        """How many gradients a walker that moves in step t has made before it."""
        return t if self.exchange.order is None else t // self.walkers

    def gradients(self, t: int, point: str) -> float:
        """How many gradients a walker has made at step t; for the center, a walker in the mean."""
        if self.exchange.order is None:
            return t
        return t / self.walkers if point == "center" else ceil((t - int(point[1:])) / self.walkers)

    @model_validator(mode="before")
    @classmethod
    def _curvature_of_what_there_is(cls, keys: Any) -> Any:
        """Without a center, the default of `curvature.of` is the walker alone."""
        if not isinstance(keys, dict) or keys.get("walkers") != 1 or not isinstance(keys.get("curvature"), dict):
            return keys
        coupling = keys.get("coupling") or {"name": "none"}
        if isinstance(coupling, dict) and coupling.get("name") == "none" and coupling.get("center", "mean") == "mean":
            return {**keys, "curvature": {"of": ["w0"], **keys["curvature"]}}
        return keys

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Experiment:
        _check(self)
        return self


def _check(experiment: Experiment) -> None:
    """Raises UserError for the first two keys that do not fit together."""
    _batch_fits_data(experiment)
    _one_number_per_walker(experiment)
    _forces_reach_walkers(experiment)
    _order_suits_coupling(experiment)
    _names_exist(experiment)
    if experiment.curvature and experiment.curvature.lr and not experiment.analysts:
        raise UserError(f"curvature.lr = {experiment.curvature.lr}: needs analysts of at least 1, who measure it")
    if experiment.snapshots is None and (measured := measured_from_snapshots(experiment)):
        section, every = next(iter(measured.items()))
        raise UserError(f"snapshots = null: must be on where {section}.every = {every} needs snapshots")


def measured_from_snapshots(experiment: Experiment) -> dict[str, int]:
    """Section -> every so many steps, of what the analyst measures."""
    curvature = {"curvature": experiment.curvature.every} if experiment.curvature else {}
    return curvature | {f"probes.{name}": probe.every for name, probe in experiment.probes_of_snapshots.items()}


def _batch_fits_data(experiment: Experiment) -> None:
    batch, landscape = experiment.dynamics.batch_size, experiment.landscape
    if not isinstance(landscape, NetworkConfig):
        return
    train = landscape.data.train_size
    if batch is not None and train is not None and batch > train:
        raise UserError(f"dynamics.batch_size = {batch}: must be at most landscape.data.train_size = {train}")


def _one_number_per_walker(experiment: Experiment) -> None:
    if not isinstance(experiment.landscape, QuadraticConfig):
        return
    for key in ("optima", "start"):
        values = getattr(experiment.landscape, key)
        if isinstance(values, tuple) and len(values) != experiment.walkers:
            asked = f"must be one number, or one for each of walkers = {experiment.walkers}"
            raise UserError(f"landscape.{key} = {inline(values)}: {asked}")


def _forces_reach_walkers(experiment: Experiment) -> None:
    dynamics, coupling = experiment.dynamics, experiment.coupling
    if dynamics.rows_are_averages and coupling.pulls:
        raise UserError(f"dynamics.name = {dynamics.name}: averages cannot be pulled: needs coupling.name = none")
    if reason := coupling.impossible(experiment.walkers, _start_apart(experiment.landscape)):
        raise UserError(f"coupling.{reason}")


def _order_suits_coupling(experiment: Experiment) -> None:
    order, name, layout = experiment.exchange.order, experiment.coupling.name, experiment.exchange.layout
    if order not in experiment.coupling.orders:
        if order is None:
            raise UserError(f"coupling.name = {name}: one walker at a time: needs exchange.order = round_robin")
        raise UserError(f"exchange.order = {order}: must be null with coupling.name = {name}")
    if order and layout == "collective":
        raise UserError(f"exchange.layout = {layout}: must be auto where coupling.name = {name} is in order {order}")


def check_apart(experiment: Experiment) -> None:
    """Raise UserError where the walkers cannot move in several processes."""
    if order := experiment.exchange.order:
        raise UserError(
            f"exchange.order = {order}: coupling.name = {experiment.coupling.name} is in this order in one process "
            "alone (--in-process, or in_process=True)"
        )


def _start_apart(landscape: LandscapeConfig) -> bool:
    """Whether walkers may start at different points, as far as the configuration tells."""
    if isinstance(landscape, NetworkConfig):
        return not landscape.init.same
    if isinstance(landscape, QuadraticConfig):
        return isinstance(landscape.start, tuple)
    return isinstance(landscape, CustomLandscape)


def _names_exist(experiment: Experiment) -> None:
    if experiment.curvature:
        check_points("curvature.of", experiment.curvature.of, experiment.point_names)
    for section, probe in experiment.probes_of_snapshots.items():
        check_probe(f"probes.{section}", probe, experiment.point_names)
    if experiment.stop and experiment.stop.of == "center" and not experiment.has_center:
        raise UserError("stop.of = center: there is no center with walkers = 1 and no coupling")


def check_points(key: str, asked: Sequence[str], names: Sequence[str]) -> None:
    """Raise UserError unless the points `asked` for at `key` are of `names`, each once."""
    if len(set(asked)) < len(asked):
        raise UserError(f"{key} = [{', '.join(asked)}]: must hold each name once")
    for name in asked:
        if name not in names:
            known = ", ".join(names if len(names) <= 5 else [*names[:3], "…", names[-1]])
            raise UserError(f"{key} = {name}: must be of {known}")


def check_probe(section: str, probe: Probe, names: Sequence[str]) -> None:
    """Raise UserError unless a probe can be measured where the points are `names`."""
    for key, asked in probe.points_named().items():
        check_points(f"{section}.{key}", asked, names)
    if reason := probe.impossible(names):
        raise UserError(f"{section}: {reason}")
