"""`walkers run`, `resume` and `fork`: an experiment, begun or gone on with, and the processes of it."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from walkers_dist.commands.declaring import Add, takes_overrides, takes_run
from walkers_dist.config.errors import DONE, UserError

if TYPE_CHECKING:
    from walkers_dist.roles.request import Request


def declare(add: Add) -> None:
    begin = add("run", "run the experiment of a configuration here", run)
    begin.add_argument("config", metavar="CONFIG", help="a YAML file")
    takes_overrides(begin)
    begin.add_argument("--paused", action="store_true", help="wait at the first step for `walkers ctl RUN continue`")
    begin.add_argument("--dry-run", action="store_true", help="check everything and print the plan; nothing is run")

    go_on = add("resume", "go on with a run from its last checkpoint", resume)
    takes_run(go_on)
    takes_overrides(go_on, "keys that may change at a resume")

    branch = add("fork", "begin a new run at a step of another", fork)
    takes_run(branch)
    takes_overrides(branch)
    branch.add_argument("--step", type=int, metavar="S", help="where it begins (default: the last checkpoint)")

    for parser in (begin, branch):
        parser.add_argument("--run-dir", metavar="DIR", help="where the run lies (default: runs/NAME-DATE-TIME)")
    for parser in (begin, go_on, branch):
        parser.add_argument("--in-process", action="store_true", help="all walkers in this process, without a group")
        parser.add_argument("--no-report", action="store_true", help="draw no report at the end")
        parser.add_argument(
            "--ask-every", type=int, metavar="N", help="every N steps, at the next report, wait and ask what to change"
        )
        parser.add_argument("--answers", metavar="FILE", help="read the answers there, not at the terminal")


def run(options: argparse.Namespace) -> int:
    from walkers_dist.roles.request import Request

    overrides, report = tuple(options.overrides), not options.no_report
    request = Request(options.config, overrides, options.run_dir, report=report, paused=options.paused)
    if options.dry_run:
        from walkers_dist.roles.dry_run import print_plan

        print_plan(request, alone=options.in_process)
        return DONE
    return _ask_and_start(request, options)


def resume(options: argparse.Namespace) -> int:
    from walkers_dist.roles.request import Request

    request = Request(overrides=tuple(options.overrides), resume=options.run, report=not options.no_report)
    return _ask_and_start(request, options)


def fork(options: argparse.Namespace) -> int:
    from walkers_dist.roles.request import Request

    overrides, report = tuple(options.overrides), not options.no_report
    request = Request(None, overrides, options.run_dir, report=report, fork=options.run, step=options.step)
    return _ask_and_start(request, options)


def _ask_and_start(request: Request, options: argparse.Namespace) -> int:
    """With somebody who answers, where the run is to ask."""
    every, file = options.ask_every, options.answers
    if every is None:
        if file is not None:
            raise UserError(f"--answers {file}: needs --ask-every N")
        return start(request, options.in_process)
    if every < 1:
        raise UserError(f"--ask-every {every}: must be at least 1")
    if not options.in_process and _is_launched():
        raise UserError(f"--ask-every {every}: nobody answers a launcher's ranks: walkers ctl speaks to such a run")
    from walkers_dist.distributed import terminal

    with terminal.passed_on(file) as (place, shown):
        return start(replace(request, ask_every=every, answers=place, echo=not shown), options.in_process)


def _is_launched() -> bool:
    return "RANK" in os.environ and "MASTER_ADDR" in os.environ


def start(request: Request, in_process: bool) -> int:
    """As a rank where a launcher says so, in this process if asked for, else with processes of its own."""
    if in_process:
        from walkers_dist.roles.in_process import run_in_process

        return run_in_process(request)[1]
    if _is_launched():
        return _rank(request)
    from walkers_dist.distributed import local

    with local.child(["_launch", request.to_json(), str(time.time())]) as process:
        return local.wait_for(process)


def _rank(request: Request) -> int:
    """One rank under torchrun, or under srun with the same variables."""
    from walkers_dist.distributed import leash, signals

    signals.end_quietly()
    leash.wear()
    from walkers_dist.distributed.start import World
    from walkers_dist.roles.rank import run_rank

    world = World.from_environment()
    if world is None:
        raise UserError("RANK and MASTER_ADDR are set, but not WORLD_SIZE and MASTER_PORT: no launcher sets only those")
    return run_rank(world, request, time.time())


def launch(request: str, started: str, tell: str = "") -> int:
    """The launcher's child: owns the forkserver. `tell`: see `launch`."""
    from walkers_dist.distributed import leash, local, signals

    signals.end_quietly()
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


def multiply(port: str, rank: str, ranks: str, make: str, arguments: str) -> int:
    from walkers_dist.distributed import analysis

    return analysis.multiply(port, rank, ranks, make, arguments)
