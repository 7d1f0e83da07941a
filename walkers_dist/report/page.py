"""The page: what a run was, how it went and what was measured, in one file that needs nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from walkers_dist.api.opened import Run
from walkers_dist.config.errors import UserError
from walkers_dist.config.landscape import NetworkConfig
from walkers_dist.report.apart import apart
from walkers_dist.report.averages import averages
from walkers_dist.report.changes import marks
from walkers_dist.report.curvature import CONTENTS as CURVATURE
from walkers_dist.report.curvature import curvature_sections
from walkers_dist.report.document import check_place, contents, document, write
from walkers_dist.report.facts import METRICS, Best, Final, best, final
from walkers_dist.report.figure import style
from walkers_dist.report.html import absent, bars, escape, exact, section, table, tree
from walkers_dist.report.interpolations import interpolations
from walkers_dist.report.overlaps import is_overlap
from walkers_dist.report.planes import planes
from walkers_dist.report.progress import progress
from walkers_dist.report.sharpness import sharpness
from walkers_dist.report.stability import stability_limit
from walkers_dist.report.walks import walks

CONTENTS = {
    "progress": "Loss and accuracy",
    "planes": "Surface",
    "interpolation": "Interpolation",
    "distances": "Distances",
    "walks": "Random walks",
    "sharpness": "Sharpness",
    "averages": "Averages",
    **CURVATURE,
    "time": "Time",
    "events": "Events",
    "plan": "Plan",
    "configuration": "Configuration",
}
"""Sections and their names in the list at the top, which holds those that there are."""
PARTS = ("start", "training", "measuring", "analysis", "report")
EVENTS_SHOWN = 200


def write_report(run: Run, page: Path | None = None) -> Path:
    """Write the page, whole or not at all, and return its path: `report.html` in the run's directory by default.

    Raises UserError where it cannot be written.
    """
    page = page or run.path / "report.html"
    check_place(page)
    started = time.perf_counter()
    results, events = run.results, run.events
    changes, info = marks(events), run.info
    loss = run.config.landscape.loss if isinstance(run.config.landscape, NetworkConfig) else None
    with style():
        body = [
            progress(results, changes, loss),
            planes(run.planes, run.plane_points),
            interpolations(run.interpolations, changes),
            apart(run.distances, changes),
            walks(run.explorations, changes),
            sharpness(run.sharpness, changes),
            averages(run.averages, results, changes),
            *curvature_sections(
                run.eigenvalues,
                run.density,
                run.curvature,
                stability_limit(results, run.config.dynamics, events),
                changes,
                _size(run),
            ),
        ]
    timings = {"report": time.perf_counter() - started, **(info.get("timings") or {})}
    body += [_time(timings), _events(events), _plan(info), _configuration(run.directory.config)]
    text = "\n".join(part for part in body if part)
    head = _head(run, info, results, contents(text, CONTENTS))
    return write(page, document(run.config.name, f"{head}\n{text}"))


def _size(run: Run) -> int | None:
    """The number of parameters, where the pictures of curvature ask for it: of overlaps, without a full spectrum."""
    overlapping = run.curvature["quantity"].map(is_overlap).any()
    if not overlapping or (run.eigenvalues["side"] == "full").any():
        return None
    try:
        return run.snapshot(run.steps[-1], run.config.walker_names[0]).numel()
    except (UserError, IndexError):  # snapshots may have been thrown away
        return None


def _head(run: Run, info: Mapping[str, Any], results: pd.DataFrame, nav: str) -> str:
    config, status = run.config, str(info.get("status", "unknown"))
    last, top = final(results), best(results)
    coupling = config.coupling.model_dump(exclude={"name"}, exclude_none=True)
    detail = ", ".join(f"{key} {value}" for key, value in coupling.items() if config.coupling.name != "none")
    cards = [
        _card("Walkers", f"{config.walkers}", f"coupling {config.coupling.name}" + (f": {detail}" if detail else "")),
        _card("Steps", f"{last.step:,}" if last else "0", f"of {config.steps:,} asked for"),
        _best_card(top),
    ]
    if not results.empty:
        seconds = float(results["elapsed"].max())
        if math.isfinite(seconds):
            rate = f"{last.step / seconds:,.0f} steps per second" if last and seconds > 0 else ""
            cards.append(_card("Stepping", f"{seconds:.1f} s", rate))
    error = run.directory.error
    trouble = f'<pre class="error">{escape(error.read_text(errors="replace"))}</pre>' if error.is_file() else ""
    return (
        f'<header><p class="run">{escape(run.path.resolve().name)}</p><h1>{escape(config.name)} '
        f'<span class="status {escape(status)}">{escape(status)}</span></h1>'
        f"{nav}</header>{trouble}"
        f'<section id="facts"><div class="cards">{"".join(cards)}</div>{_final(last)}</section>'
    )


def _card(title: str, value: str, detail: str) -> str:
    """`value` is HTML already."""
    return f'<div class="card"><h3>{escape(title)}</h3><strong>{value}</strong><p>{escape(detail)}</p></div>'


def _best_card(top: Best | None) -> str:
    if top is None:
        return _card("Best", "–", "nothing finite was recorded")
    return _card(f"Best {top.metric.replace('_', ' ')}", _figure(top.value), f"{top.walker} at step {top.step:,}")


def _figure(value: float) -> str:
    if not math.isfinite(value):
        return '<span class="none">–</span>'
    return exact(value, f"{value:.4g}" if abs(value) < 1e-3 or abs(value) >= 1e4 else f"{value:.4f}")


def _final(last: Final | None) -> str:
    if last is None:
        return absent("No step has been recorded.")
    shown = [metric for metric in METRICS if any(math.isfinite(values[metric]) for _, values in last.rows)]
    head = [f"at step {last.step:,}", *(metric.replace("_", " ").replace("train", "training") for metric in shown)]
    rows = [[escape(who), *(_figure(values[metric]) for metric in shown)] for who, values in last.rows]
    lost = absent(f"Not finite at the last step: {', '.join(last.lost)}.") if last.lost else ""
    return table(head, rows, numeric=True) + lost


def _time(timings: Mapping[str, float | None]) -> str:
    """Bars of `run.json`'s timings, in the order of a run's life; what was not timed is left out."""
    known = {name: float(timings[name] or 0.0) for name in sorted(timings, key=_age) if timings[name] is not None}
    return section("time", "How long each part took", bars(known, "s"))


def _age(part: str) -> int:
    return PARTS.index(part) if part in PARTS else len(PARTS)


def _events(events: pd.DataFrame) -> str:
    if events.empty:
        return section("events", "Events", absent("Nothing was changed and nothing went wrong."))
    rows = [
        [escape("" if pd.isna(cell) else cell) for cell in row]
        for row in events[["step", "source", "key", "old", "new", "time"]].head(EVENTS_SHOWN).itertuples(index=False)
    ]
    more = len(events) - len(rows)
    note = absent(f"{more:,} more are in events.csv.") if more > 0 else ""
    return section("events", "Events", table(["step", "source", "key", "old", "new", "time"], rows), note)


def _plan(info: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in info.items() if key not in ("status", "timings")}
    body = tree(rest) if rest else absent("The run recorded no plan and no versions.")
    return section("plan", "Plan and versions", body)


def _configuration(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    body = f"<details><summary>config.yaml, every default written out</summary><pre>{escape(text)}</pre></details>"
    return section("configuration", "Configuration", body if text else absent("The run has no config.yaml."))
