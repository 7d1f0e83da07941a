"""What the user asked for: a new run of a configuration, or a run to go on with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Request:
    config: str | None = None
    overrides: tuple[str, ...] = ()
    run_dir: str | None = None
    """Where a new run lies; by default in `runs/`, named after the experiment and the time."""
    resume: str | None = None
    """The run to go on with, instead of a configuration."""
    report: bool = True
    """Whether the report is drawn at the end."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Request:
        fields = json.loads(text)
        return cls(**{**fields, "overrides": tuple(fields["overrides"])})
