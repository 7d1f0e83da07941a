"""`walkers probe`: first-order measurements of a run that has ended."""

from __future__ import annotations

import argparse

from walkers_dist.commands.declaring import Add, takes_overrides, takes_run
from walkers_dist.config.errors import DONE, UserError

PROBES = ("interpolate", "distances", "plane", "walk", "sharpness", "average", "midpoint")


def declare(add: Add) -> None:
    parser = add("probe", "measure the surface around a run's snapshots, or train between two walkers", probe)
    takes_run(parser)
    parser.add_argument("kind", metavar="PROBE", help="|".join(PROBES))
    takes_overrides(parser, "keys of the probe; --key value is the same")
    parser.set_defaults(keys_as_options=True)
    parser.add_argument(
        "--steps", "--step", metavar="S,…", default="last", help="snapshots: last (default), all, or 0,100"
    )
    parser.add_argument(
        "--between", metavar="NAME", nargs=2, help="midpoint: the walkers between which a new run begins"
    )
    parser.add_argument("--no-report", action="store_true", help="do not draw the report again")


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
