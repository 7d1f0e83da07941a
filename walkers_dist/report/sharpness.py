"""Sharpness of center and walkers over steps, a chart for each formula and size of the ball."""

from __future__ import annotations

import pandas as pd

from walkers_dist.report.changes import Mark
from walkers_dist.report.figure import number
from walkers_dist.report.html import Picture, absent, grid, section
from walkers_dist.report.lines import legend, line_chart, looks
from walkers_dist.report.series import curves

FORMULAS = {
    "original": ("Sharpness in the ball |y| ≤ {}", "elementary-walkers"),
    "keskar": ("Sharpness in Keskar's box, ε = {}", "Keskar et al. 2017: |y_j| ≤ ε (|x_j| + 1)"),
}
SPLITS = {"train": "training", "test": "test"}


def sharpness(table: pd.DataFrame, changes: list[Mark]) -> str:
    if table.empty:
        return ""
    pictures = [
        picture
        for index, ((formula, epsilon), rows) in enumerate(table.groupby(["formula", "epsilon"], sort=False))
        for split in SPLITS
        if (picture := _chart(f"sharpness-{index}-{split}", str(formula), float(epsilon), rows, split, changes))
    ]
    body = grid(pictures) or absent("No sharpness is finite.")
    return section("sharpness", "Sharpness", body)


def _chart(
    name: str, formula: str, epsilon: float, rows: pd.DataFrame, split: str, changes: list[Mark]
) -> Picture | None:
    shown = curves(rows, "walker", f"{split}_sharpness")
    measured = [curve for curve in shown if curve.measured]
    if not measured:
        return None
    title, source = FORMULAS.get(formula, (f"Sharpness, {formula}, ε = {{}}", ""))
    names = [curve.name for curve in shown]
    known = looks(names)
    lowest = min(float(curve.y[curve.y == curve.y].min()) for curve in measured)
    scale = "log" if lowest > 0 and split == "train" else "linear"
    words = (
        f"100 (L(y) − L(x)) / (1 + L(x)), y the highest training loss found there{f' ({source})' if source else ''}."
    )
    if split == "test":
        words = "The same two points, their losses on the test data."
    return line_chart(
        name,
        title.format(number(epsilon)) + f", {SPLITS[split]}",
        f"{SPLITS[split]} sharpness (%)",
        shown,
        [known[who] for who in names],
        scale=scale,  # type: ignore[arg-type]
        caption=words,
        changes=changes,
        entries=legend(names),
        alike=False,
    )
