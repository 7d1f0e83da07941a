"""The largest eigenvalue at which steps of gradient descent stay stable, as it changed with the step size.

Along an eigenvector of eigenvalue h the steps of `dynamics.sgd`, with full gradients and momentum m, are

    x_{t+1} = (1 + m - a h) x_t - m x_{t-1}           a = lr (1 - dampening)    stable iff  a h < 2 (1 + m)
    x_{t+1} = (1 - a h) ((1 + m) x_t - m x_{t-1})     nesterov, a = lr          stable iff  a h < 2 (1 + m) / (1 + 2 m)

Both are h < 2 / lr where m is 0. Weight decay adds to every h, so the bound is lower by it. Source: Cohen et al.,
"Gradient descent on neural networks typically occurs at the edge of stability" (2021), arXiv 2103.00065.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from walkers_dist.dynamics.sgd import SGD
from walkers_dist.report.series import Array, Curve

SAMPLES = 200


@dataclass(frozen=True)
class Limit:
    """The bound at the steps where it changed, `values` from `steps` on, both [n]; `formula` names it."""

    steps: Array
    values: Array
    formula: str

    def curve(self, low: float, high: float) -> Curve:
        """The bound between two steps: level, with a jump at each change.

        It has many points: dots on few would look measured.
        """
        inside = self.steps[(self.steps > low) & (self.steps < high)]
        x = np.sort(np.concatenate([np.linspace(low, high, SAMPLES), inside, inside]))
        at = np.searchsorted(self.steps, x, side="right") - 1
        jumps = np.flatnonzero((np.diff(x) == 0) & np.isin(x[:-1], inside))
        at[jumps] -= 1  # the first of the two points of a jump is before it
        return Curve("stability", x, self.values[np.clip(at, 0, None)])


def stability_limit(results: pd.DataFrame, dynamics: object, events: pd.DataFrame) -> Limit | None:
    """That of a run: step sizes of its `results`, momentum of its `dynamics` and as its `events` changed it.

    None where no step size was recorded, or steps are not those of gradient descent.
    """
    rates = results.loc[np.isfinite(results["lr"]) & (results["lr"] > 0), ["step", "lr"]].drop_duplicates("step")
    if rates.empty or not isinstance(dynamics, SGD):
        return None
    steps, lr = (rates[column].to_numpy(dtype=np.float64) for column in ("step", "lr"))
    m, dampening, decay = (
        _course(steps, events, key, getattr(dynamics, key)) for key in ("momentum", "dampening", "weight_decay")
    )
    moving = bool(m.any())
    formula, factor = ("2(1+m)/lr" if moving else "2/lr"), np.ones_like(m)
    if moving and dynamics.nesterov:
        formula, factor = "2(1+m)/((1+2m) lr)", 1 + 2 * m
    elif moving and dampening.any():
        formula, factor = "2(1+m)/((1−dampening) lr)", np.where(m > 0, 1 - dampening, 1.0)
    values = 2 * (1 + m) / (factor * lr) - decay
    new = np.concatenate([[True], values[1:] != values[:-1]])
    return Limit(steps[new], values[new], formula + (" − weight decay" if decay.any() else ""))


def _course(steps: Array, events: pd.DataFrame, key: str, start: float) -> Array:
    """A number of the dynamics at each of `steps`, from its `start` on through the changes."""
    found = np.full(len(steps), float(start))
    changes = events[events["key"] == f"dynamics.{key}"]
    for step, new in zip(changes["step"], pd.to_numeric(changes["new"], errors="coerce"), strict=True):
        if np.isfinite(new):
            found[steps >= step] = new
    return found
