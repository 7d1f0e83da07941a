"""What the user asked for: a run of a configuration, one that begins where another stands, replays it, or goes on."""

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
    fork: str | None = None
    """The run at whose `step` the new one begins, instead of a configuration."""
    step: int | None = None
    between: tuple[str, str] | None = None
    """The two points of `fork` at `step` at whose midpoint the new run begins, at step 0."""
    replay: str | None = None
    """The run whose changes by hand become the schedule of the new one, instead of a configuration."""
    paused: bool = False
    """Whether the first report is not answered before `walkers ctl RUN continue`."""
    ask_every: int | None = None
    """Every so many steps the user is asked what to change."""
    answers: str = ""
    """The socket where the answers are read."""
    echo: bool = False
    """Whether the answers are to be shown: no terminal does so."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Request:
        fields = json.loads(text)
        tuples = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
        return cls(**{**fields, **tuples})
