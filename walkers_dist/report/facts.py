"""The headline of a run in numbers: where it ended, and the best it saw."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
BEST_OF = (("test_accuracy", "max"), ("test_loss", "min"), ("train_accuracy", "max"), ("train_loss", "min"))
SHOWN_ONE_BY_ONE = 8


@dataclass(frozen=True)
class Best:
    """The best value of the first of `BEST_OF` that was measured, and who had it when."""

    metric: str
    value: float
    walker: str
    step: int


@dataclass(frozen=True)
class Final:
    """The rows of the last step: (who, {metric: value}); NaN where not measured or not finite."""

    step: int
    rows: list[tuple[str, dict[str, float]]]
    lost: list[str]
    """Walkers whose training loss is not finite there."""


def best(results: pd.DataFrame) -> Best | None:
    for metric, way in BEST_OF:
        finite = results[results[metric].map(math.isfinite)]
        if len(finite):
            row = finite.loc[finite[metric].idxmax() if way == "max" else finite[metric].idxmin()]
            return Best(metric, float(row[metric]), str(row["walker"]), int(row["step"]))
    return None


def final(results: pd.DataFrame) -> Final | None:
    """Center, mean of the walkers, and the walkers: each of them where they are few, else the ends of their range.

    Mean and range are of the walkers that are finite.
    """
    if results.empty:
        return None
    step = int(results["step"].max())
    rows = results[results["step"] == step].set_index("walker")[list(METRICS)]
    walkers = rows.drop(index="center", errors="ignore")
    finite = walkers[walkers["train_loss"].map(math.isfinite)]
    table = [("center", rows.loc["center"])] if "center" in rows.index else []
    if len(walkers) > 1:
        table.append(("mean of walkers", finite.mean()))
    if len(walkers) > SHOWN_ONE_BY_ONE:
        table += [("lowest of walkers", finite.min()), ("highest of walkers", finite.max())]
    else:
        table += [(str(name), walkers.loc[name]) for name in walkers.index]
    lost = [str(name) for name in walkers.index if name not in finite.index]
    return Final(step, [(who, {m: float(row[m]) for m in METRICS}) for who, row in table], lost)
