"""The JSON schema of a configuration, for editors."""

from __future__ import annotations

from typing import Any

from walkers_dist.config.schema import Experiment


def schema() -> dict[str, Any]:
    """Draft 2020-12; a section with a `name` or `kind` is one of those registered, or the user's own."""
    found = Experiment.model_json_schema()
    found["required"] = []  # the name is the file's stem where it is not given
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "A walkers_dist experiment"}
