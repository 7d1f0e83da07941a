"""What each command does. What needs torch is imported by the command that needs it, so that help is instant."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from walkers_dist.config.errors import DONE, UserError

if TYPE_CHECKING:
    from walkers_dist.roles.request import Request


def run(options: argparse.Namespace) -> int:
    from walkers_dist.roles.request import Request

    request = Request(options.config, tuple(options.overrides), options.run_dir, report=not options.no_report)
    if options.dry_run:
        from walkers_dist.roles.dry_run import print_plan

        print_plan(request)
        return DONE
    return _start(request, options.in_process)


def resume(options: argparse.Namespace) -> int:
    from walkers_dist.roles.request import Request

    request = Request(overrides=tuple(options.overrides), resume=options.run, report=not options.no_report)
    return _start(request, options.in_process)


def fork(options: argparse.Namespace) -> int:
    from walkers_dist.roles.request import Request

    overrides, report = tuple(options.overrides), not options.no_report
    request = Request(None, overrides, options.run_dir, report=report, fork=options.run, step=options.step)
    return _start(request, options.in_process)


def _start(request: Request, in_process: bool) -> int:
    """As a rank where a launcher says so, in this process if asked for, else with processes of its own."""
    if in_process:
        from walkers_dist.roles.in_process import run_in_process

        return run_in_process(request)[1]
    if "RANK" in os.environ and "MASTER_ADDR" in os.environ:
        return _rank(request)
    from walkers_dist.distributed import local

    with local.child(["_launch", request.to_json(), str(time.time())]) as process:
        return local.wait_for(process)


def _rank(request: Request) -> int:
    """One rank under torchrun, or under srun with the same variables."""
    from walkers_dist.distributed import leash

    leash.wear()
    from walkers_dist.distributed.start import World
    from walkers_dist.roles.rank import run_rank

    world = World.from_environment()
    if world is None:
        raise UserError("RANK and MASTER_ADDR are set, but not WORLD_SIZE and MASTER_PORT: no launcher sets only those")
    return run_rank(world, request, time.time())


def launch(request: str, started: str, tell: str = "") -> int:
    """The launcher's child: owns the forkserver. `tell`: see `launch`."""
    from walkers_dist.distributed import leash, local

    leash.wear()
    local.start_server("walkers_dist.roles.rank")
    from walkers_dist.roles import launching
    from walkers_dist.roles.request import Request

    return launching.launch(Request.from_json(request), float(started), int(tell) if tell else None)


def analyst(path: str, number: str, analysts: str, gpu: str) -> int:
    from walkers_dist.distributed import leash

    leash.wear()
    from walkers_dist.roles.analyst import analyse

    analyse(path, int(number), int(analysts), gpu or None)
    return DONE


def probe(options: argparse.Namespace) -> int:
    from walkers_dist.api import probing
    from walkers_dist.api.opened import open_run

    opened = open_run(options.run)
    if options.kind == "midpoint":
        return _midpoint(options)
    if options.between:
        raise UserError(f"--between {' '.join(options.between)}: belongs to midpoint alone")
    kind = {"interpolate": "interpolation"}.get(options.kind, options.kind)
    probing.probe(opened, kind, options.overrides, steps=probing.steps_named(options.steps), tell=print)
    if options.no_report:
        return DONE
    from walkers_dist.report import write_report

    print(write_report(opened))
    return DONE


def _midpoint(options: argparse.Namespace) -> int:
    from walkers_dist.api.forking import midpoint
    from walkers_dist.api.probing import steps_named

    if not options.between:
        raise UserError("--between: must name two points, as in --between w0 w1")
    steps = steps_named(options.steps)
    if len(steps) != 1 and steps != "last":
        raise UserError(f"--steps {options.steps}: must be one step, or last")
    step = None if isinstance(steps, str) else steps[0]
    a, b = options.between
    print(midpoint(options.run, a, b, step, options.overrides, report=not options.no_report).path)
    return DONE


def report(options: argparse.Namespace) -> int:
    from walkers_dist.distributed import leash

    if leash.VARIABLE in os.environ:
        leash.wear()
    from walkers_dist.api.opened import runs_of
    from walkers_dist.report import write_comparison, write_report

    runs, page = list(runs_of(options.runs)), Path(options.out) if options.out else None
    if len(runs) == 1:
        print(write_report(runs[0], page))
    else:
        print(write_comparison(runs, page or Path("compare.html")))
    return DONE


def data_list(options: argparse.Namespace) -> int:
    from walkers_dist.api.datasets import table

    print(table())
    return DONE


def data_fetch(options: argparse.Namespace) -> int:
    from walkers_dist.api.datasets import fetch

    print(fetch(options.name))
    return DONE


def list_runs(options: argparse.Namespace) -> int:
    from walkers_dist.api import listing

    print(listing.table(listing.list_runs(options.folder)) or f"{options.folder}: holds no run")
    return DONE


def compare(options: argparse.Namespace) -> int:
    from walkers_dist.api.comparing import shown
    from walkers_dist.api.opened import runs_of

    print(shown(runs_of(options.runs).compare(options.by), options.latex))
    return DONE


def schema(options: argparse.Namespace) -> int:
    from walkers_dist.config import json_schema

    print(json.dumps(json_schema.schema(), indent=2))
    return DONE
