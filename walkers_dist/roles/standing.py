"""How a run stands, for whoever asks: a line to read, and the same for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from walkers_dist.config.course import SNAPSHOT, Change
from walkers_dist.config.text import inline
from walkers_dist.roles.progress import best_of


@dataclass(frozen=True)
class Standing:
    """`losses`: by walker, of the training set, at `measured`, the last step with rows."""

    step: int
    last: int
    begin: int = 0
    elapsed: float = 0.0
    """Seconds of stepping, over all resumes."""
    trained: float = 0.0
    """Those since this start."""
    measured: int | None = None
    losses: Mapping[str, float] = field(default_factory=dict)

    def at(self, step: int) -> Standing:
        return replace(self, step=step)

    @property
    def speed(self) -> float | None:
        """Steps per second."""
        return (self.step - self.begin) / self.trained if self.trained > 0 and self.step > self.begin else None

    def facts(self, given: Sequence[Change]) -> dict[str, Any]:
        """For machines; `given` are the changes to come."""
        return {
            "step": self.step,
            "last": self.last,
            "elapsed": self.elapsed,
            "steps_per_second": self.speed,
            "measured": self.measured,
            "train_loss": dict(self.losses),
            "to_come": [
                {"step": change.step, "source": change.source, "key": change.key, "new": change.new} for change in given
            ],
        }


def line(status: str, standing: Standing, given: Sequence[Change]) -> str:
    parts = [f"{status} at step {standing.step} of {standing.last}"]
    if standing.speed:
        parts.append(f"{standing.speed:.4g} steps/s")
    parts.append(f"elapsed {standing.elapsed:.1f} s")
    if standing.losses:
        parts.append(_losses(standing.losses) + f" at step {standing.measured}")
    parts += [_to_come(change) for change in given]
    return ", ".join(parts)


def _losses(losses: Mapping[str, float]) -> str:
    center = [f"center {losses['center']:.4g}"] if "center" in losses else []
    best = best_of(losses)[0]
    return "loss " + " ".join([*center, f"best {best} {losses[best]:.4g}"])


def _to_come(change: Change) -> str:
    what = "a snapshot" if change.source == SNAPSHOT else f"{change.key} = {inline(change.new)}"
    return f"{what} at step {change.step}"


def ended(rows: Sequence[Mapping[str, str]]) -> Standing:
    """How a run has ended, by its last rows."""
    if not rows:
        return Standing(0, 0)
    step = int(rows[0]["step"])
    losses = {row["walker"]: float(row["train_loss"]) for row in rows}
    return Standing(step, step, elapsed=float(rows[0]["elapsed"]), measured=step, losses=losses)
