"""What must hold between the keys of an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import DigitsConfig, NetworkConfig, QuadraticConfig
from walkers_dist.config.text import inline

if TYPE_CHECKING:
    from walkers_dist.config.schema import Experiment


def check(experiment: Experiment) -> None:
    """Raises UserError for the first two keys that do not fit together."""
    _batch_fits_data(experiment)
    _one_number_per_walker(experiment)
    _names_exist(experiment)
    if experiment.snapshots is None and experiment.curvature is not None:
        every = experiment.curvature.every
        raise UserError(f"snapshots = null: must be on where curvature.every = {every} needs snapshots")


def _batch_fits_data(experiment: Experiment) -> None:
    batch, landscape = experiment.dynamics.batch_size, experiment.landscape
    if not (isinstance(landscape, NetworkConfig) and isinstance(landscape.data, DigitsConfig)):
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


def _names_exist(experiment: Experiment) -> None:
    names = ["center"] * experiment.has_center + experiment.walker_names
    asked = experiment.curvature.of if experiment.curvature else ()
    if len(set(asked)) < len(asked):
        raise UserError(f"curvature.of = [{', '.join(asked)}]: must hold each name once")
    for name in asked:
        if name not in names:
            known = ", ".join(names if len(names) <= 5 else [*names[:3], "…", names[-1]])
            raise UserError(f"curvature.of = {name}: must be of {known}")
    if experiment.stop and experiment.stop.of == "center" and not experiment.has_center:
        raise UserError("stop.of = center: there is no center with walkers = 1 and no coupling")
