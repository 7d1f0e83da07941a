"""The page of several runs: what differs between them, where they ended, and one curve per run in every chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from walkers_dist.api.comparing import FIGURES, OF_CENTER, compare
from walkers_dist.api.opened import Run
from walkers_dist.config import text
from walkers_dist.report.document import check_place, contents, document, write
from walkers_dist.report.figure import HUES, style
from walkers_dist.report.html import Key, Picture, absent, escape, exact, grid, lead, section, table
from walkers_dist.report.lines import NAMED, Look, Scale, line_chart
from walkers_dist.report.series import Curve

CONTENTS = {"runs": "Runs", "progress": "Loss and accuracy", "distances": "Distances", "edges": "Edges"}
DISTANCE = "distance (Euclidean, parameter units)"
EIGENVALUE = "eigenvalue (loss / parameter²)"


def write_comparison(runs: Sequence[Run], page: Path) -> Path:
    """Write one page about all `runs` into the file `page`, and return its path.

    Raises UserError where a run cannot be read or the page cannot be written.
    """
    check_place(page)
    names = labels([run.path for run in runs])
    with style():
        body = "\n".join(
            part
            for part in (
                section("runs", "Runs", _table(runs, names)),
                _progress(runs, names),
                _section("distances", "Distances", [_distances(runs, names)]),
                _section("edges", "Edges of the spectrum", [_edges(runs, names)]),
            )
            if part
        )
    title = f"{len(runs)} runs"
    head = f"<header><h1>{title}</h1>{contents(body, CONTENTS)}</header>"
    return write(page, document(title, head + body))


def labels(paths: Sequence[Path]) -> list[str]:
    """The name of each run's directory, with as many folders before it as tell it from the others."""
    parts = [path.resolve().parts for path in paths]
    found = []
    for own in parts:
        depth = next(n for n in range(1, len(own) + 1) if sum(other[-n:] == own[-n:] for other in parts) == 1)
        found.append("/".join(own[-depth:]))
    return found


def _table(runs: Sequence[Run], names: Sequence[str]) -> str:
    frame = compare([run.directory for run in runs])
    figures = [column for column in OF_CENTER if column in frame]
    keys = [column for column in frame if column not in ("run", "seed", "step", *FIGURES)]
    words = [column.replace("_", " ").replace("train", "training") for column in figures]
    rows = []
    for run, name, row in zip(runs, names, frame.to_dict("records"), strict=True):
        cells = [escape(name), escape(run.status), _cell(row.get("step")), _cell(row["seed"])]
        rows.append(cells + [_cell(row[column]) for column in (*figures, *keys)])
    said = "Figures are the center's, or the mean of the walkers where there is no center, at the last step with rows."
    same = "" if keys else absent("Their configurations are the same, up to name and seed.")
    return lead(said) + table(["run", "status", "step", "seed", *words, *keys], rows) + same


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return '<span class="none">–</span>'
    if isinstance(value, float):
        return exact(value, str(int(value)) if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}")
    return escape(value if isinstance(value, str) else text.inline(value))


def _progress(runs: Sequence[Run], names: Sequence[str]) -> str:
    tables = [run.results for run in runs]
    pictures, missing = [], []
    for column in ("train_loss", "test_loss", "train_accuracy", "test_accuracy"):
        title = column.replace("_", " ").replace("train", "training").capitalize()
        shown = [main_curve(name, rows, column) for name, rows in zip(names, tables, strict=True)]
        loss = column.endswith("loss")
        picture = _chart(
            column.replace("_", "-"), title, title.lower() + ("" if loss else " (fraction correct)"), shown, names,
            "log" if loss else "linear", "Lower is better; logarithmic axis." if loss else "Higher is better.",
            ceiling=None if loss else 1.005,
        )  # fmt: skip
        if picture:
            pictures.append(picture)
        else:
            missing.append(title.lower())
    note = absent(f"No run has a {' or a '.join(missing)}.") if missing else ""
    return section("progress", "Loss and accuracy", grid(pictures), note)


def main_curve(name: str, rows: pd.DataFrame, column: str) -> Curve:
    """The center's, or where there is no center the mean of the walkers that are finite."""
    if rows.empty:
        return Curve(name, np.zeros(1), np.full(1, np.nan))
    own = rows[rows["walker"] == "center"]
    own = own if len(own) else rows
    values = own[column].where(np.isfinite(own[column])).groupby(own["step"]).mean()
    return Curve(name, values.index.to_numpy(dtype=np.float64), values.to_numpy(dtype=np.float64))


def _distances(runs: Sequence[Run], names: Sequence[str]) -> Picture | None:
    shown = []
    for run, name in zip(runs, names, strict=True):
        rows = run.distances
        rows = rows[(rows["a"] == "center") | (rows["b"] == "center")].assign(walker="mean")
        shown.append(main_curve(name, rows, "distance"))
    words = "Mean over the walkers of how far each is from the center."
    return _chart("to-center", "Walkers to center", DISTANCE, shown, names, "linear", words)


def _edges(runs: Sequence[Run], names: Sequence[str]) -> Picture | None:
    shown, of = [], set()
    for run, name in zip(runs, names, strict=True):
        rows = run.eigenvalues
        rows = rows[(rows["matrix"] == "hessian") & (rows["side"] == "top") & (rows["rank"] == 1)]
        walker = next((who for who in ("center", "w0", *rows["walker"]) if (rows["walker"] == who).any()), "")
        of |= {walker} - {""}
        shown.append(main_curve(name, rows[rows["walker"] == walker], "eigenvalue"))
    words = f"At {' or '.join(sorted(of))}."
    return _chart("top", "Largest eigenvalue of the Hessian", EIGENVALUE, shown, names, "linear", words)


def _section(name: str, title: str, pictures: Sequence[Picture | None]) -> str:
    there = [picture for picture in pictures if picture]
    return section(name, title, grid(there)) if there else ""


def _chart(
    name: str,
    title: str,
    ylabel: str,
    shown: Sequence[Curve],
    names: Sequence[str],
    scale: Scale,
    caption: str,
    ceiling: float | None = None,
) -> Picture | None:
    """One curve per run, in the run's own colour on the whole page; None where no run has it."""
    there = [curve for curve in shown if curve.measured]
    if not there:
        return None
    known = looks_of_runs(names)
    entries = [Key(curve.name, known[curve.name].color, known[curve.name].dash != "-") for curve in there]
    absent_from = len(shown) - len(there)
    return line_chart(
        name,
        title,
        ylabel,
        there,
        [known[curve.name] for curve in there],
        scale=scale,
        caption=caption + (f" Not recorded in {absent_from} of {len(shown)} runs." if absent_from else ""),
        entries=entries if len(names) <= NAMED else [Key(f"{len(there)} runs", HUES[0])],
        ceiling=ceiling,
        alike=False,
    )


def looks_of_runs(names: Sequence[str]) -> dict[str, Look]:
    """A colour for each run while they are few, else one cloud."""
    if len(names) > NAMED:
        return {name: Look(HUES[0], 1.0, max(0.25, min(0.6, 12 / len(names)))) for name in names}
    return {
        name: Look(HUES[index % len(HUES)], 1.7, dash="-" if index < len(HUES) else "--")
        for index, name in enumerate(names)
    }
