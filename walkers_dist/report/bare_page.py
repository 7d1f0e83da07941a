"""The page of a network that was analyzed by itself: what it is, and the pictures of its curvature."""

from __future__ import annotations

from pathlib import Path

from walkers_dist.api.bare import Analysis
from walkers_dist.report.curvature import CONTENTS, curvature_sections
from walkers_dist.report.document import check_place, contents, document, write
from walkers_dist.report.figure import style
from walkers_dist.report.html import escape, section, tree


def write_network_report(analysis: Analysis, page: Path | None = None) -> Path:
    """Write the page, whole or not at all, and return its path: `report.html` beside the tables by default.

    Raises UserError where it cannot be written.
    """
    page = page or analysis.path / "report.html"
    check_place(page)
    said = {key: value for key, value in analysis.info.items() if value not in (None, "")}
    with style():
        parts = curvature_sections(analysis.eigenvalues, analysis.density, analysis.curvature)
    text = "\n".join([*(part for part in parts if part), section("network", "Network", tree(said))])
    nav = contents(text, {**CONTENTS, "network": "Network"})
    name = str(said["model"]).rpartition(":")[2]
    title = f'<header><p class="run">{escape(analysis.path.resolve().name)}</p><h1>{escape(name)}</h1>{nav}</header>'
    return write(page, document(name, f"{title}\n{text}"))
