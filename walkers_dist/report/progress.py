"""Loss and accuracy of center and walkers over steps, on training and test data."""

from __future__ import annotations

import pandas as pd

from walkers_dist.report.changes import Mark
from walkers_dist.report.html import Picture, absent, grid, section
from walkers_dist.report.lines import legend, line_chart, looks
from walkers_dist.report.series import curves

LOSS = {"cross_entropy": "nats per sample", "squared_error": "per sample"}
SPLITS = {"train": "Training", "test": "Test"}


def progress(results: pd.DataFrame, changes: list[Mark], loss_kind: str | None) -> str:
    """The section; `loss_kind` names the unit of the loss where it is known."""
    if results.empty:
        return section("progress", "Loss and accuracy", absent("No step has been recorded."))
    units = {"loss": f" ({LOSS[loss_kind]})" if loss_kind in LOSS else "", "accuracy": " (fraction correct)"}
    pictures, missing = [], []
    for quantity in units:
        for split, word in SPLITS.items():
            picture = _chart(results, changes, f"{split}_{quantity}", f"{word} {quantity}", units[quantity])
            if picture is None:
                missing.append(f"{word.lower()} {quantity}")
            else:
                pictures.append(picture)
    note = absent(f"This run has no {' and no '.join(missing)}.") if missing else ""
    return section("progress", "Loss and accuracy", grid(pictures), note)


def _chart(results: pd.DataFrame, changes: list[Mark], column: str, title: str, unit: str) -> Picture | None:
    shown = curves(results, "walker", column)
    if not any(curve.measured for curve in shown):
        return None
    names = [curve.name for curve in shown]
    known = looks(names)
    loss = column.endswith("loss")
    return line_chart(
        column.replace("_", "-"),
        title,
        f"{title.lower()}{unit}",
        shown,
        [known[name] for name in names],
        scale="log" if loss else "linear",
        caption="Lower is better; logarithmic axis." if loss else "Higher is better; 1 is every sample right.",
        changes=changes,
        entries=legend(names),
        ceiling=None if loss else 1.005,
    )
