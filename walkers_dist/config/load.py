"""From a file and overrides to an experiment, and back to a file with every default written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from walkers_dist.config import text
from walkers_dist.config.changes import check_schedule
from walkers_dist.config.explain import explain
from walkers_dist.config.merge import merged
from walkers_dist.config.registry import make_importable
from walkers_dist.config.schema import Experiment


def load(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment in a YAML file, with `key.sub=value` overrides. Raises UserError.

    The user's own modules are found beside the file and in the working directory.
    """
    file = Path(path)
    keys = text.read(file)
    make_importable(Path.cwd())
    make_importable(file.parent)
    return parse(merged(keys, overrides), name_default=file.stem)


def parse(mapping: Mapping[str, Any], name_default: str) -> Experiment:
    """The experiment that these keys describe. Raises UserError."""
    keys = {"name": name_default, **mapping}
    try:
        experiment = Experiment.model_validate(keys)
    except ValidationError as error:
        raise explain(error, Experiment, keys) from None
    check_schedule(experiment)
    return experiment


def dump(experiment: Experiment) -> str:
    """YAML with every default written; loading it gives an equal experiment."""
    return text.write(experiment.model_dump())
