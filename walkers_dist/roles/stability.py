"""A coupling that is not stable where the surface is curved as far as is known: one line says which bound.

A quadratic surface knows its curvature. A network's is what the analyst has measured, or what `--dry-run` estimates at
the start; along that direction the bound is that of a parabola.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from walkers_dist import curvature
from walkers_dist.config.kinds import Dynamics
from walkers_dist.config.schema import Experiment
from walkers_dist.coupling.stability import has_bound as bound_is_known
from walkers_dist.coupling.stability import has_bound_in_round_robin, round_robin_warning, stability_warning
from walkers_dist.dynamics.nesterov import Nesterov
from walkers_dist.dynamics.sgd import SGD
from walkers_dist.landscape import Landscape
from walkers_dist.landscape.network import Network
from walkers_dist.landscape.quadratic import Quadratic
from walkers_dist.records.run_directory import RunDirectory
from walkers_dist.records.tables import COLUMNS, read_rows

PRODUCTS = 20
"""Of the Hessian, for an estimate."""
SAMPLES = 1000
"""That an estimate is made on, at least."""


@dataclass(frozen=True)
class Curvature:
    """The largest curvature `h` of the surface, and where it was found; nothing if it is so everywhere."""

    h: float
    where: str = ""


def warn(experiment: Experiment, found: Curvature | None) -> bool:
    """Say so where the coupling is not stable; whether it was said."""
    if found is None or not has_bound(experiment):
        return False
    lr, h = experiment.dynamics.lr, found.h + experiment.dynamics.weight_decay
    known = experiment.coupling, lr, h, experiment.walkers, found.where
    if experiment.exchange.order:
        warning = round_robin_warning(*known)
    else:
        warning = stability_warning(*known, _look_ahead(experiment.dynamics) or 0.0)
    if warning:
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    return warning is not None


def has_bound(experiment: Experiment) -> bool:
    """Whether there is a bound to compare a curvature with."""
    momentum = _look_ahead(experiment.dynamics)
    if experiment.exchange.order:
        return momentum == 0 and has_bound_in_round_robin(experiment.coupling)
    return momentum is not None and bound_is_known(experiment.coupling, momentum)


def _look_ahead(dynamics: Dynamics) -> float | None:
    """Nesterov's momentum, 0 of plain gradient steps, None of any other."""
    if isinstance(dynamics, Nesterov):
        return dynamics.momentum
    return 0.0 if isinstance(dynamics, SGD) and not dynamics.momentum else None


def known(landscape: Landscape) -> Curvature | None:
    """That of a quadratic surface."""
    return Curvature(float(landscape.h.abs().max())) if isinstance(landscape, Quadratic) else None


def estimated(landscape: Landscape) -> Curvature:
    """That at the start of w0, from a few products, of a large data set on a part of it.

    Raises UserError where a product is not finite.
    """
    shares = max(1, (landscape.train_size or 0) // SAMPLES) if isinstance(landscape, Network) else 1
    last = landscape.share(shares - 1, shares)  # of several without the penalty, which is small beside the rest
    H = curvature.hessian(last, landscape.start("w0"))
    return Curvature(shares * float(curvature.density(H, 1, PRODUCTS).nodes.max()), "estimated at the start of w0")


def measured(run: RunDirectory, last: int | None = None) -> Curvature | None:
    """The newest that the analyst of a run has measured, at step `last` or before; None where there is none."""
    rows = [[row[column] for column in COLUMNS["eigenvalues"]] for row in read_rows(run.table("eigenvalues"))]
    steps = [int(row[0]) for row in rows if last is None or int(row[0]) <= last]
    return largest(row for row in rows if int(row[0]) == max(steps)) if steps else None


def largest(rows: Iterable[Sequence[object]]) -> Curvature | None:
    """The largest eigenvalue of the Hessian among rows of `eigenvalues.csv`."""
    tops = [
        (float(str(value)), str(walker), step)
        for step, walker, matrix, side, rank, value, _ in rows
        if matrix == "hessian" and side in ("top", "full") and int(str(rank)) == 1
    ]
    finite = [top for top in tops if math.isfinite(top[0])]
    if not finite:
        return None
    h, walker, step = max(finite, key=lambda top: top[0])
    return Curvature(h, f"at {walker} in step {step}")
