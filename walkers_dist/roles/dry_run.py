"""`--dry-run`: check everything, and say what a run would be: processes, bytes per exchange, memory, products."""

from __future__ import annotations

import torch

from walkers_dist.config.errors import UserError
from walkers_dist.config.schema import Experiment, check_apart
from walkers_dist.distributed import devices
from walkers_dist.distributed.plan import Entry, Plan, make_plan, processes_for
from walkers_dist.landscape import Landscape
from walkers_dist.roles import stability
from walkers_dist.roles.preparation import prepare
from walkers_dist.roles.request import Request

COPIES = 5
"""Of its rows, that a walker process holds at most besides the rows, their gradient and what the dynamics remember, a
snapshot's included."""
AT_ONCE = 64
"""Points that a probe holds at a time, with their gradients."""
BASIS = 60
"""Vectors that the search for extreme eigenvalues keeps."""


def print_plan(request: Request, alone: bool = False) -> None:
    """Print the plan of a run on this machine, `alone` in one process. Raises `UserError` as the run would."""
    preparation = prepare(request)
    experiment, landscape = preparation.experiment, preparation.landscape
    if alone:
        preparation.stay_alone()
        experiment = experiment.model_copy(update={"walkers_per_process": experiment.walkers})
    else:
        check_apart(experiment)
    plan = plan_here(experiment)
    print(f"{experiment.name}: {experiment.walkers} walkers, {experiment.steps} steps, {landscape.size} parameters")
    memory = peak_memory(experiment, landscape, plan)
    for seat in plan.seats:
        where = f"GPU {seat.gpu}" if seat.gpu else "CPU, niced" if seat.role == "analyst" else "CPU"
        print(f"  {seat.name:<16} {where:<12} {_bytes(memory[seat.role])} of tensors at its peak")
    print(f"  every exchange: {_bytes(bytes_per_exchange(experiment, landscape))} per process, {_carrier(plan)}")
    if experiment.curvature:
        print(f"  curvature: about {products(experiment, landscape.size)} Hessian-vector products")
    if stability.has_bound(experiment) and stability.known(landscape) is None:
        print_stability(experiment, landscape)


def print_stability(experiment: Experiment, landscape: Landscape) -> None:
    """How curved the surface is at the start; a warning where the coupling would not be stable there."""
    try:
        found = stability.estimated(landscape)
    except UserError as error:  # the run would tell it by its rows
        print(f"  largest curvature: unknown: {error}")
        return
    print(f"  largest curvature: {found.h:.3g}, {found.where}")
    stability.warn(experiment, found)


def plan_here(experiment: Experiment) -> Plan:
    """The plan that `walkers run` would make on this machine."""
    gpus = devices.visible_gpus(experiment.device)
    processes = processes_for(experiment.walkers, experiment.walkers_per_process, len(gpus), experiment.device)
    ranks = 1 + processes + experiment.analysts
    return make_plan(
        [Entry("here", gpus, str(rank)) for rank in range(ranks)],
        walkers=experiment.walkers,
        per_process=experiment.walkers_per_process,
        analysts=experiment.analysts,
        device=experiment.device,
    )


def bytes_per_exchange(experiment: Experiment, landscape: Landscape) -> int:
    """What one process puts into an `all_reduce`: the vectors, the coupling's scalars, the count."""
    coupling, P = experiment.coupling, landscape.size
    if not coupling.pulls:  # a center that descends: sums of gradient, loss, correct answers and samples, at every step
        return (P + 3) * landscape.dtype.itemsize if coupling.descends else 0
    return (coupling.vectors * P + len(coupling.scalars) + 1) * landscape.dtype.itemsize


def peak_memory(experiment: Experiment, landscape: Landscape, plan: Plan) -> dict[str, int]:
    """Bytes of tensors at the peak of each role: parameters and data, without the libraries (some 200 MB, shared)."""
    P, one = landscape.size, landscape.size * landscape.dtype.itemsize
    rows = max(len(seat.walkers) for seat in plan.walkers)
    data = data_bytes(landscape)
    every_point = (experiment.walkers + 1) * P * 8
    live = every_point if experiment.probes and experiment.probes.distances else 0
    remembered = experiment.dynamics.remembered + experiment.coupling.remembered
    wanted, probed = experiment.curvature, bool(experiment.probes_of_snapshots)
    curved = max(3 * P * P * 8 if wanted.full != "never" else 0, BASIS * P * 8) if wanted else 0
    return {
        "walkers": (2 + COPIES + remembered) * rows * one + data,
        "coordinator": 3 * one + live + data,
        "analyst": max(curved, (AT_ONCE * P * 8 + every_point) * probed) + 2 * data * (bool(wanted) or probed),
        "spare": 0,
    }


def data_bytes(landscape: Landscape) -> int:
    """Bytes of the data that a landscape holds."""
    held = [v for part in vars(landscape).values() if isinstance(part, dict) for v in part.values()]
    return sum(v.numel() * v.element_size() for v in held if isinstance(v, torch.Tensor))


def products(experiment: Experiment, P: int) -> int:
    """Hessian-vector products of the whole run, its schedule left aside: some 200 for the two ends of a spectrum, P for
    a whole one."""
    wanted = experiment.curvature
    assert wanted is not None
    steps = len({*range(0, experiment.steps + 1, wanted.every), experiment.steps})
    whole = {"never": 0, "at_end": 1, "always": steps}[wanted.full]
    ends = min(P, 200) if wanted.top or wanted.bottom else 0
    density = wanted.density.probes * wanted.density.steps + 120 if wanted.density else 0
    return len(wanted.of) * len(wanted.matrix) * ((ends + density) * steps + P * whole)


def _carrier(plan: Plan) -> str:
    return f"one all_reduce over {plan.force_backend}" if plan.force_backend else "within one process"


def _bytes(n: int) -> str:
    size, unit = float(n), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"
