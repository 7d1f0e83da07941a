"""The Hessian against its Gauss-Newton part: eigenvalues rank by rank, and how much the residual is over steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from walkers_dist.report.changes import Mark
from walkers_dist.report.figure import HUES, INK, chart, log_axis, number, to_svg, whole_axis
from walkers_dist.report.html import Key, Picture, absent, escape, grid, lead, section
from walkers_dist.report.lines import Look, legend, line_chart, listed, looks
from walkers_dist.report.points import UNIT
from walkers_dist.report.series import Array, Curve, curves, thin

PICTURES = 2
COMPARED = 10
"""So many of the largest eigenvalues are compared, at most."""
DEEP = 1e-9
"""Sizes below this part of the largest are zeros with their rounding."""
LOOKS = {
    "hessian": (Key("H, above 0", INK), Look(INK, 2.0)),
    "below": (Key("H, below 0: −λ", INK, dashed=True), Look(INK, 1.3, 0.8, "--")),
    "ggn": (Key("G", HUES[0]), Look(HUES[0], 1.8)),
    "residual": (Key("H − G: |λ|", HUES[1]), Look(HUES[1], 1.3)),
}


class Ranked(NamedTuple):
    """The known eigenvalues of the matrices of one point, each [n] and descending."""

    walker: str
    step: int
    of: dict[str, Array]
    whole: bool

    @property
    def off(self) -> tuple[int, float]:
        """Of how many of the largest pairs which relative difference is the greatest."""
        H, G = self.of["hessian"], self.of["ggn"]
        clear = int(np.sum(H / H[0] > DEEP))
        k = min(COMPARED, len(G), clear)
        return k, float(np.max(np.abs(G[:k] / H[:k] - 1), initial=0.0))


def parts(eigenvalues: pd.DataFrame, curvature: pd.DataFrame, changes: list[Mark]) -> str:
    """Nothing where not both matrices were measured."""
    if not {"hessian", "ggn"} <= set(eigenvalues["matrix"]):
        return ""
    found = ranked(eigenvalues)
    steps = _share("ratio", "Largest eigenvalue of G over that of H", "λ₁(G) / λ₁(H)", tops(eigenvalues), changes)
    sizes = _share("rest", "Size of the residual", "|H − G| / |H|, Frobenius norms", norms(curvature), changes)
    pictures = [_ranks(f"parts-{index}", point) for index, point in enumerate(found[:PICTURES])]
    pictures += [picture for picture in (steps, sizes) if picture]
    rest = [point.walker for point in found[PICTURES:]]
    body = grid(pictures) or absent("At no step have both a finite largest eigenvalue.")
    note = absent(f"Also in eigenvalues.csv: {listed(rest)}.") if rest else ""
    words = lead("G is what H would be of a network linear in its parameters. H − G vanishes with the loss.")
    return section("parts", "Gauss-Newton against Hessian", words, body, note)


def ranked(eigenvalues: pd.DataFrame) -> list[Ranked]:
    """Each walker at the latest step at which both matrices are known; all eigenvalues where there are all."""
    finite = eigenvalues[np.isfinite(eigenvalues["eigenvalue"])]
    found = []
    for walker, rows in finite.groupby("walker", sort=False):
        for side in ("full", "top"):
            known = rows[rows["side"] == side]
            steps = set(known.loc[known["matrix"] == "hessian", "step"])
            steps &= set(known.loc[known["matrix"] == "ggn", "step"])
            if steps:
                step = max(steps)
                at = known[known["step"] == step].groupby("matrix")["eigenvalue"]
                of = {str(matrix): np.sort(values.to_numpy(dtype=np.float64))[::-1] for matrix, values in at}
                if of["hessian"][0] > 0:
                    found.append(Ranked(str(walker), int(step), of, side == "full"))
                    break
    return found


def tops(eigenvalues: pd.DataFrame) -> pd.DataFrame:
    """The largest eigenvalue of G over that of H: step, walker, value."""
    largest = eigenvalues[(eigenvalues["side"].isin(["top", "full"])) & (eigenvalues["rank"] == 1)]
    return _ratio(largest.rename(columns={"eigenvalue": "value"}), "ggn")


def norms(curvature: pd.DataFrame) -> pd.DataFrame:
    """The Frobenius norm of the residual over that of H: step, walker, value."""
    return _ratio(curvature[curvature["quantity"] == "frobenius"], "residual")


def _ratio(rows: pd.DataFrame, matrix: str) -> pd.DataFrame:
    place = ["step", "walker"]
    above, below = (
        rows[rows["matrix"] == name].drop_duplicates(place)[[*place, "value"]] for name in (matrix, "hessian")
    )
    both = above.merge(below, on=place, suffixes=("", "_below"))
    return both.assign(value=(both["value"] / both["value_below"]).where(both["value_below"] > 0))


def _share(name: str, title: str, ylabel: str, rows: pd.DataFrame, changes: list[Mark]) -> Picture | None:
    shown = curves(rows, "walker", "value")
    if rows["step"].nunique() < 2 or not any(curve.measured for curve in shown):
        return None
    names = [curve.name for curve in shown]
    known = looks(names)
    low, high = float(rows["value"].min()), float(rows["value"].max())
    return line_chart(
        f"parts-{name}",
        title,
        ylabel,
        shown,
        [known[who] for who in names],
        scale="log" if low > 0 and high > 20 * low else "linear",
        caption="",
        changes=changes,
        entries=legend(names),
        alike=False,
    )


def _ranks(name: str, point: Ranked) -> Picture:
    """Sizes of eigenvalues over their ranks, on logarithmic axes where all are known."""
    H = point.of["hessian"]
    shown = {"hessian": H[H > 0], "ggn": point.of["ggn"]}
    if point.whole:
        shown["below"] = -H[H < 0][::-1]
        if "residual" in point.of:
            shown["residual"] = np.sort(np.abs(point.of["residual"]))[::-1]
    elif "residual" in point.of:
        shown["residual"] = point.of["residual"]
    shown = {key: values[values > DEEP * H[0]] for key, values in shown.items()}
    shown = {key: values for key, values in shown.items() if len(values)}
    figure, axes = chart("rank", UNIT)
    longest = max(map(len, shown.values()))
    log_axis(axes, min(float(values[-1]) for values in shown.values()), max(float(v[0]) for v in shown.values()))
    for key in (key for key in LOOKS if key in shown):
        look = LOOKS[key][1]
        curve = thin(Curve(key, np.arange(1.0, len(shown[key]) + 1), shown[key]), 1)
        (line,) = axes.plot(curve.x, curve.y, look.dash, color=look.color, linewidth=look.width, alpha=look.alpha)
        if longest <= 60:
            line.set(marker="o", markersize=4, markeredgewidth=0)
    _ranks_axis(axes, longest)
    k, off = point.off
    words = f"The largest {k} of G are within {_percent(off)} of those of H." if k > 1 else ""
    if "residual" in point.of and point.whole:
        size = float(np.linalg.norm(point.of["residual"]) / np.linalg.norm(H))
        words += f" |H − G| / |H| = {number(float(f'{size:.3g}'))} in Frobenius norms."
    title = f"H and G of {point.walker} at step {point.step:,}"
    keys = [key for name, (key, _) in LOOKS.items() if name in shown]
    return Picture(title, to_svg(figure, name, escape(f"{title}. {words}")), words.strip(), keys)


def _ranks_axis(axes: Axes, longest: int) -> None:
    if longest <= 60:
        whole_axis(axes, [1, longest])
        return
    axes.set_xscale("log")
    axes.set_xlim(0.9, longest * 1.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if longest < 3000 else (1.0,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", "\u2009")))


def _percent(part: float) -> str:
    return f"{100 * part:.2g} %" if part < 0.1 else f"{100 * part:.0f} %"
