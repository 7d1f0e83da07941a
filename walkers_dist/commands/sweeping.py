"""`walkers sweep`: a grid of runs, here or as one array of jobs."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from walkers_dist.commands import running
from walkers_dist.commands.declaring import Add, takes_overrides
from walkers_dist.commands.submitting import deliver, for_a_cluster, takes_slurm, wanted
from walkers_dist.config.errors import DONE, UserError

if TYPE_CHECKING:
    from walkers_dist.api.sweeping import Point


def declare(add: Add) -> None:
    parser = add("sweep", "run a grid of experiments, each in a run directory of its own", sweep)
    parser.add_argument("config", metavar="CONFIG", help="a YAML file")
    takes_overrides(parser, "a key with its value, or with several to vary it: key=a,b,c")
    parser.add_argument("--out", metavar="DIR", help="where the runs lie (default: runs/NAME-sweep)")
    parser.add_argument("--jobs", metavar="N", type=int, help="so many at a time (default: 1; with --slurm: all)")
    parser.add_argument("--dry-run", action="store_true", help="list the points; nothing is run")
    parser.add_argument("--in-process", action="store_true", help="all walkers of a run in one process")
    parser.add_argument("--no-report", action="store_true", help="draw no reports")
    parser.add_argument("--slurm", action="store_true", help="submit what is missing as one array of jobs")
    parser.add_argument("--point", metavar="I", type=int, help="run this one alone, counted from 0, as a job does")
    takes_slurm(parser)


def sweep(options: argparse.Namespace) -> int:
    from walkers_dist.api import sweeping

    if options.jobs is not None and options.jobs < 1:
        raise UserError(f"--jobs {options.jobs}: must be at least 1")
    to_slurm = options.slurm or options.print
    words = for_a_cluster(options.overrides) if to_slurm else options.overrides
    points = sweeping.grid(options.config, words, Path(options.out) if options.out else None)
    if options.point is not None:
        return _point(points, options)
    if options.dry_run:
        for number, point in enumerate(points):
            print(f"{number:>3}  {point.status():<11}  {_shown(point.path)}")
        return DONE
    if to_slurm:
        return _submit(points, words, options)
    return _here(points, options)


def _here(points: list[Point], options: argparse.Namespace) -> int:
    from walkers_dist.api import listing, sweeping

    def tell(point: Point, what: str) -> None:
        print(f"[{points.index(point) + 1}/{len(points)}] {point.name} {what}", flush=True)

    code = sweeping.run_points(points, options.jobs or 1, not options.no_report, options.in_process, tell)
    folder = _shown(points[0].path.parent)
    print(listing.table(listing.list_runs(folder)))
    varied = points[0].name.partition("=")[0]
    print(f"walkers compare {shlex.quote(str(folder) + '/*')} --by {varied} shows them in one table")
    return code


def _point(points: list[Point], options: argparse.Namespace) -> int:
    if not 0 <= options.point < len(points):
        raise UserError(f"--point {options.point}: must be from 0 to {len(points) - 1}")
    point = points[options.point]
    if point.status() == "done":
        return DONE
    return running.start(point.request(not options.no_report), options.in_process)


def _submit(points: list[Point], words: list[str], options: argparse.Namespace) -> int:
    from walkers_dist.distributed import slurm

    missing = [number for number, point in enumerate(points) if point.status() != "done"]
    if not missing:
        print("every point is done")
        return DONE
    command = ["sweep", options.config, *words]
    command += ["--out", options.out] if options.out else []
    command += ["--in-process"] if options.in_process else []
    command += ["--no-report"] if options.no_report else []
    command += ["--point", slurm.TASK]
    array = _ranges(missing) + (f"%{options.jobs}" if options.jobs else "")
    largest = max((point.experiment for point in points), key=lambda experiment: experiment.walkers)
    return deliver(slurm.script(command, largest, wanted(options), options.words, array), options)


def _ranges(numbers: list[int]) -> str:
    """0,1,2,5 as 0-2,5."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and groups[-1][-1] == number - 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return ",".join(str(g[0]) if len(g) == 1 else f"{g[0]}-{g[-1]}" for g in groups)


def _shown(path: Path) -> Path:
    """As short as it can be said."""
    return Path(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else path
