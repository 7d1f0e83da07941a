"""The experiment: every key of a configuration, its type, its default and what must hold between keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from walkers_dist.config import consistency
from walkers_dist.config.choice import Choice
from walkers_dist.config.kinds import Coupling, Dynamics, Period, Probe
from walkers_dist.config.landscape import LANDSCAPE, LandscapeConfig, NetworkConfig, Section

DYNAMICS = Choice("dynamics", "dynamics", "sgd")
COUPLING = Choice("coupling", "coupling", "easgd", null="none")
DISTANCES = Choice("probes.distances", "probe", "distances", fixed=True)

Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Timeouts(Section):
    """Seconds: to meet at the start, and of silence after which a process counts as lost."""

    start: Seconds = 300.0
    silence: Seconds = 60.0


class ExchangeConfig(Section):
    layout: Literal["auto"] = "auto"
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
    distances: Annotated[Probe, DISTANCES] | None = None


class CurvatureConfig(Section):
    every: Period = 100
    of: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("center", "w0")
    matrix: Annotated[tuple[Literal["hessian"], ...], Field(strict=False, min_length=1)] = ("hessian",)
    top: Count = 5
    bottom: Count = 3
    full: Literal["never", "at_end", "always"] = "at_end"


class ControlConfig(Section):
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
    at_end: Literal["wait"] = "wait"

    @property
    def walker_names(self) -> list[str]:
        return [f"w{i}" for i in range(self.walkers)]

    @property
    def has_center(self) -> bool:
        """A single walker without forces has no center beside it."""
        return self.walkers > 1 or self.coupling.name != "none"

    @model_validator(mode="before")
    @classmethod
    def _curvature_of_what_there_is(cls, keys: Any) -> Any:
        """Without a center, the default of `curvature.of` is the walker alone."""
        if not isinstance(keys, dict) or keys.get("walkers") != 1 or not isinstance(keys.get("curvature"), dict):
            return keys
        coupling = keys.get("coupling") or {"name": "none"}
        if isinstance(coupling, dict) and coupling.get("name") == "none":
            return {**keys, "curvature": {"of": ["w0"], **keys["curvature"]}}
        return keys

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Experiment:
        consistency.check(self)
        return self
