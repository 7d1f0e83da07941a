"""Everything that is drawn of curvature, from its tables alone: those of a run, or of one network without a run."""

from __future__ import annotations

import pandas as pd

from walkers_dist.report.changes import Mark
from walkers_dist.report.density import densities
from walkers_dist.report.edges import edges
from walkers_dist.report.overlaps import overlaps
from walkers_dist.report.parts import parts
from walkers_dist.report.quantities import quantities
from walkers_dist.report.spectrum import histograms
from walkers_dist.report.stability import Limit

CONTENTS = {
    "edges": "Edges",
    "spectrum": "Spectrum",
    "density": "Density",
    "parts": "G against H",
    "overlaps": "Overlaps",
    "quantities": "Curvature in numbers",
}


def curvature_sections(
    eigenvalues: pd.DataFrame,
    density: pd.DataFrame,
    curvature: pd.DataFrame,
    limit: Limit | None = None,
    changes: list[Mark] | None = None,
    size: int | None = None,
) -> list[str]:
    """The sections of these three tables, in the order of `CONTENTS`; nothing for what was not measured.

    `limit` is the bound of stable steps, where steps were made: `stability.stability_limit`. `size` is the number of
    parameters, which tables without full spectra do not tell. To be called inside of `figure.style()`.
    """
    changes = changes or []
    return [
        edges(eigenvalues, changes, limit),
        histograms(eigenvalues),
        densities(density, eigenvalues),
        parts(eigenvalues, curvature, changes),
        overlaps(curvature, eigenvalues, changes, size),
        quantities(curvature, changes),
    ]
