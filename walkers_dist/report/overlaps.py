"""How far top eigenvectors agree: with those of the step before, between walkers, and with the gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from walkers_dist.report.changes import Mark
from walkers_dist.report.figure import HUES, INK, number
from walkers_dist.report.heat import heatmap
from walkers_dist.report.html import Key, Picture, absent, fold, grid, lead, section
from walkers_dist.report.lines import Look, legend, line_chart, looks
from walkers_dist.report.points import named
from walkers_dist.report.series import Curve, curves

BEFORE, WITH, GRADIENT = "overlap before", "overlap with ", "gradient overlap"
SEPARATE_PAIRS = 20
"""Of more pairs than this only mean and range are drawn."""
MEANING = (
    "The mean squared cosine of the principal angles between the spans of the largest eigenvalues' eigenvectors: "
    "1 of the same span, k/P on average of two random ones, of k vectors among P parameters."
)


def overlaps(curvature: pd.DataFrame, eigenvalues: pd.DataFrame, changes: list[Mark], size: int | None = None) -> str:
    """Those of the first matrix, and folded those of the others. `size`: P, where all eigenvalues do not tell."""
    rows = curvature[curvature["quantity"].map(is_overlap)]
    if rows.empty:
        return ""
    found: dict[str, str] = {}
    for matrix, of in rows.groupby("matrix", sort=False):
        share = random_share(eigenvalues[eigenvalues["matrix"] == matrix], size)
        name = f"overlaps-{len(found)}"
        pictures = [_before(name, of, share, changes), _heat(name, of), _between(name, of, share, changes)]
        pictures.append(_gradient(name, of, share, changes))
        found[str(matrix)] = grid([picture for picture in pictures if picture])
    drawn = {matrix: body for matrix, body in found.items() if body}
    if not drawn:
        return section("overlaps", "Overlap of top eigenvectors", absent("No overlap is finite."))
    (first, body), *rest = drawn.items()
    return section(
        "overlaps",
        f"Overlap of top eigenvectors: {named(first)}",
        lead(MEANING),
        body,
        *(fold(named(matrix), f"<div>{more}</div>") for matrix, more in rest),
    )


def is_overlap(quantity: str) -> bool:
    return quantity in (BEFORE, GRADIENT) or quantity.startswith(WITH)


def random_share(eigenvalues: pd.DataFrame, size: int | None) -> float | None:
    """k/P; None where P is not known."""
    k = eigenvalues.loc[eigenvalues["side"] == "top", "rank"].max()
    whole = eigenvalues.loc[eigenvalues["side"] == "full", "rank"].max()
    P = float(size if size else whole)
    return float(k) / P if 0 < k <= P else None


def pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """The overlaps between walkers: columns a, b beside those of the table."""
    between = rows[rows["quantity"].str.startswith(WITH)]
    return between.assign(a=between["walker"], b=between["quantity"].str.removeprefix(WITH))


def _before(name: str, rows: pd.DataFrame, share: float | None, changes: list[Mark]) -> Picture | None:
    words = "Of each point with itself at the step measured before."
    return _walkers(f"{name}-before", "Overlap with the step before", rows, BEFORE, words, share, changes)


def _gradient(name: str, rows: pd.DataFrame, share: float | None, changes: list[Mark]) -> Picture | None:
    words = "The part of the gradient's square that lies in the span of the top eigenvectors."
    return _walkers(f"{name}-gradient", "Gradient within the top eigenvectors", rows, GRADIENT, words, share, changes)


def _walkers(
    name: str, title: str, rows: pd.DataFrame, quantity: str, words: str, share: float | None, changes: list[Mark]
) -> Picture | None:
    shown = curves(rows[rows["quantity"] == quantity], "walker", "value")
    names = [curve.name for curve in shown]
    known = looks(names)
    return _chart(name, title, words, shown, [known[who] for who in names], legend(names), share, changes)


def _between(name: str, rows: pd.DataFrame, share: float | None, changes: list[Mark]) -> Picture | None:
    """Every pair over steps, or where they are many their mean and range."""
    of = pairs(rows)
    finite = of[np.isfinite(of["value"])]
    if finite["step"].nunique() < 2:
        return None
    shown = curves(of.assign(pair=of["a"] + "–" + of["b"]), "pair", "value")
    count, others = len(shown), f"{len(shown)} pairs"
    per_step = finite.groupby("step")["value"].agg(["mean", "min", "max"])
    steps = per_step.index.to_numpy(dtype=np.float64)
    mean, low, high = (Curve(key, steps, per_step[key].to_numpy(dtype=np.float64)) for key in ("mean", "min", "max"))
    if count > SEPARATE_PAIRS:
        shown, others = [low, high], f"lowest and highest of {count:,} pairs"
    if count == 1:
        return _chart(
            f"{name}-between", f"Overlap of {shown[0].name}", "", shown, [Look(HUES[0], 1.8)], [], share, changes
        )
    looks_of = [Look(HUES[0], 1.0, 0.7)] * len(shown) + [Look(INK, 2.2)]
    entries = [Key("mean of pairs", INK), Key(others, HUES[0])]
    return _chart(f"{name}-between", "Overlap between walkers", "", [*shown, mean], looks_of, entries, share, changes)


def _heat(name: str, rows: pd.DataFrame) -> Picture | None:
    """Every pair of walkers at the latest step; a pair alone is a number."""
    of = pairs(rows)
    of = of[of["step"] == of["step"].max()]
    names = list(dict.fromkeys([*of["a"], *of["b"]]))
    if len(names) < 3 or not np.isfinite(of["value"]).any():
        return None
    place = {who: index for index, who in enumerate(names)}
    matrix = np.full((len(names), len(names)), np.nan)
    for a, b, value in zip(of["a"], of["b"], of["value"], strict=True):
        matrix[place[a], place[b]] = matrix[place[b], place[a]] = value
    words = "Empty cells are a point with itself, or not finite."
    title = f"Overlap between walkers at step {int(of['step'].iloc[0]):,}"
    return heatmap(f"{name}-heat", title, "overlap", names, matrix, words, 0.0, 1.0)


def _chart(
    name: str, title: str, words: str, shown: list[Curve], styles: list[Look], entries: Sequence[Key],
    share: float | None, changes: list[Mark],
) -> Picture | None:  # fmt: skip
    """Overlaps over steps from 0 to 1, and a dashed line at that of random spans."""
    if not any(curve.measured for curve in shown):
        return None
    if share is not None:
        x = np.concatenate([curve.x for curve in shown])
        level = np.linspace(float(x.min()), float(x.max()), 200)  # dots on few points would look measured
        shown, styles = [*shown, Curve("random", level, np.full(200, share))], [*styles, Look(INK, 1.2, 0.7, "--")]
        entries = [*entries, Key(f"random: k/P = {number(float(f'{share:.2g}'))}", INK, dashed=True)]
    return line_chart(
        name, title, "overlap", shown, styles, scale="linear", caption=words, changes=changes, entries=entries,
        ceiling=1.02, alike=False,
    )  # fmt: skip
