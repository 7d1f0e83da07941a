"""Soups and ensemble of the walkers over steps, beside the best walker and the mean of all; how far they disagree."""

from __future__ import annotations

import numpy as np
import pandas as pd

from walkers_dist.report.changes import Mark
from walkers_dist.report.figure import HUES, INK
from walkers_dist.report.html import Key, Picture, absent, grid, section
from walkers_dist.report.lines import Look, line_chart
from walkers_dist.report.series import Curve, curves

KINDS = {
    "uniform": ("uniform soup", Look(HUES[0], 1.8)),
    "greedy": ("greedy soup", Look(HUES[1], 1.8)),
    "ensemble": ("ensemble", Look(HUES[2], 1.8)),
}
BEST, MEAN = Look(INK, 1.4, 0.9), Look(INK, 1.4, 0.9, "--")
CHARTS = {
    "test_accuracy": "Test accuracy",
    "test_loss": "Test loss",
    "train_accuracy": "Training accuracy",
    "train_loss": "Training loss",
}


def averages(table: pd.DataFrame, results: pd.DataFrame, changes: list[Mark]) -> str:
    if table.empty:
        return ""
    shown = [_chart(table, results, column, title, changes) for column, title in CHARTS.items()]
    pictures = [picture for picture in (*shown, _disagreement(table, changes)) if picture]
    return section(
        "averages", "Averages of the walkers", grid(pictures) or absent("No average is finite."), _greedy(table)
    )


def _greedy(table: pd.DataFrame) -> str:
    """Who is in the greedy soup at last."""
    rows = table[(table["step"] == table["step"].max()) & (table["kind"] == "greedy")].dropna(subset=["members"])
    if rows.empty:
        return ""
    return absent(f"In the greedy soup at step {int(rows['step'].iloc[-1]):,}: {rows['members'].iloc[-1]}.")


def walkers_at(results: pd.DataFrame, steps: pd.Series, column: str) -> list[Curve]:
    """`best walker` and `mean of walkers` at those of the `steps` that have rows; finite values alone count."""
    rows = results[(results["walker"] != "center") & results["step"].isin(steps) & np.isfinite(results[column])]
    if rows.empty:
        return []
    found = rows.groupby("step")[column].agg(["max" if column.endswith("accuracy") else "min", "mean"])
    x = found.index.to_numpy(dtype=np.float64)
    names = ("best walker", "mean of walkers")
    return [Curve(name, x, found.iloc[:, i].to_numpy(dtype=np.float64)) for i, name in enumerate(names)]


def _chart(table: pd.DataFrame, results: pd.DataFrame, column: str, title: str, changes: list[Mark]) -> Picture | None:
    own = curves(table, "kind", column)
    if not any(curve.measured for curve in own):
        return None
    beside = walkers_at(results, table["step"], column)
    styles = [*(_look(curve.name, i) for i, curve in enumerate(own)), *(BEST, MEAN)[: len(beside)]]
    shown = [Curve(KINDS.get(curve.name, (curve.name,))[0], curve.x, curve.y) for curve in own] + beside
    keys = [Key(curve.name, look.color, look.dash != "-") for curve, look in zip(shown, styles, strict=True)]
    loss = column.endswith("loss")
    return line_chart(
        f"averages-{column.replace('_', '-')}",
        title,
        title.lower() + ("" if loss else " (fraction correct)"),
        shown,
        styles,
        scale="log" if loss else "linear",
        caption="Soup: the mean of parameters. Ensemble: the mean of outputs."
        if beside
        else "No walker has a row here.",
        changes=changes,
        entries=keys,
        ceiling=None if loss else 1.005,
    )


def _look(kind: str, index: int) -> Look:
    return KINDS[kind][1] if kind in KINDS else Look(HUES[(index + 3) % len(HUES)], 1.6)


def _disagreement(table: pd.DataFrame, changes: list[Mark]) -> Picture | None:
    """Of all walkers, which is what a uniform soup and an ensemble are made of; and of those in the greedy soup."""
    known = table.dropna(subset=["disagreement"])
    who = np.where(known["kind"] == "greedy", "in the greedy soup", "all walkers")
    known = known.assign(who=who).drop_duplicates(["step", "who"]).sort_values(["who", "step"])
    shown = curves(known, "who", "disagreement")
    if not any(curve.measured for curve in shown):
        return None
    styles = [KINDS["greedy"][1] if curve.name.endswith("soup") else Look(INK, 1.8) for curve in shown]
    return line_chart(
        "averages-disagreement",
        "Disagreement",
        "disagreement (fraction of samples)",
        shown,
        styles,
        scale="linear",
        caption="The share of samples to which two walkers give different answers, mean over pairs.",
        changes=changes,
        entries=[Key(curve.name, look.color) for curve, look in zip(shown, styles, strict=True)],
    )
