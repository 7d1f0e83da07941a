"""What may change while an experiment runs, or when it resumes, and the experiment after such a change."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from walkers_dist.config.errors import UserError
from walkers_dist.config.explain import explain, is_number
from walkers_dist.config.merge import put
from walkers_dist.config.schema import Experiment
from walkers_dist.config.text import inline

LIVE = ("steps", "log", "snapshots", "probes", "curvature", "stop")
"""Keys and sections that may change at any step; so may the numbers in `LIVE_NUMBERS`."""
LIVE_NUMBERS = ("dynamics", "coupling")
NEVER_LIVE = ("dynamics.batch_size",)
AT_RESUME = ("threads", "device", "walkers_per_process", "analysts", "exchange", "checkpoint", "control", "at_end")
"""What a resume may change beside them."""


def is_live(experiment: Experiment, key: str) -> bool:
    """Whether the dotted key may change while the experiment runs (whether it exists is another question)."""
    section, _, rest = key.partition(".")
    if section in LIVE:
        return True
    if section not in LIVE_NUMBERS or key in NEVER_LIVE:
        return False
    kind = type(getattr(experiment, section))
    known = {field.alias or name for name, field in kind.model_fields.items()}
    return bool(rest) and (rest not in known or is_number(kind, rest))


def may_resume_with(experiment: Experiment, key: str) -> bool:
    """Whether a resume may change the dotted key."""
    return is_live(experiment, key) or key.partition(".")[0] in AT_RESUME


def apply_change(experiment: Experiment, key: str, value: object) -> Experiment:
    """The experiment with a live-changeable key set. Raises UserError."""
    if not is_live(experiment, key):
        numbers = " and ".join(LIVE_NUMBERS)
        raise UserError(
            f"{key} = {inline(value)}: cannot change while running; what can: {', '.join(LIVE)}, "
            f"and the numbers in {numbers} but batch_size"
        )
    keys: dict[str, Any] = experiment.model_dump(exclude={"schedule"})
    put(keys, key, value)
    try:
        changed = Experiment.model_validate(keys)
    except ValidationError as error:
        raise explain(error, Experiment, keys) from None
    return changed.model_copy(update={"schedule": experiment.schedule})


def check_schedule(experiment: Experiment) -> None:
    """Try every scheduled change, each on the experiment as the earlier ones leave it. Raises UserError."""
    for number, entry in sorted(enumerate(experiment.schedule), key=lambda item: item[1].at):
        for key, value in entry.set.items():
            try:
                experiment = apply_change(experiment, key, value)
            except UserError as error:
                raise UserError(f"schedule.{number}: {error}") from None
        if "steps" in entry.set and experiment.steps < entry.at:
            raise UserError(f"schedule.{number}: steps = {experiment.steps}: must be at least at = {entry.at}")
