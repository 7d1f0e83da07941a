"""The `walkers` command. What needs torch is imported by the command that needs it, so that help is instant."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from walkers_dist.config.errors import DONE, FAILED, INTERRUPTED, WRONG_INPUT, RunFailed, UserError

if TYPE_CHECKING:
    from walkers_dist.roles.request import Request

KEYS = "every key of the configuration, as key.sub=value; null switches a section off"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"walkers: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(WRONG_INPUT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["_launch"]:
        return _launch(*words[1:])
    if words[:1] == ["_analyst"]:
        return _analyst(*words[1:])
    options, rest = _parser().parse_known_args(words)
    try:
        options.overrides = [*getattr(options, "overrides", []), *_overrides_among(rest, options)]
        return options.command(options)
    except (UserError, RunFailed) as error:
        print(f"walkers: {error}", file=sys.stderr)
        return WRONG_INPUT if isinstance(error, UserError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _overrides_among(rest: Sequence[str], options: argparse.Namespace) -> Sequence[str]:
    """Overrides may stand between options; argparse hands those back."""
    for word in rest:
        if word.startswith("-") or not hasattr(options, "overrides"):
            raise UserError(f"{word}: is no option or argument of this command (see walkers --help)")
    return rest


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="walkers", description=sys.modules["walkers_dist"].__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, does: str, command: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=does, description=does[0].upper() + does[1:] + ".")
        sub.set_defaults(command=command)
        return sub

    run = add("run", "run the experiment of a configuration here", _run)
    run.add_argument("config", metavar="CONFIG", help="a YAML file")
    run.add_argument("overrides", metavar="key=value", nargs="*", help=KEYS)
    run.add_argument("--run-dir", metavar="DIR", help="where the run lies (default: runs/NAME-DATE-TIME)")
    run.add_argument("--in-process", action="store_true", help="all walkers in this process, without a group")
    run.add_argument("--dry-run", action="store_true", help="check everything and print the plan; nothing is run")

    resume = add("resume", "go on with a run from its last checkpoint", _resume)
    resume.add_argument("run", metavar="RUN", help="a run directory")
    resume.add_argument("overrides", metavar="key=value", nargs="*", help="keys that may change at a resume")
    resume.add_argument("--in-process", action="store_true", help="all walkers in this process, without a group")
    for command in (run, resume):
        command.add_argument("--no-report", action="store_true", help="draw no report at the end")

    report = add("report", "draw the pictures of a run into its report.html", _report)
    report.add_argument("run", metavar="RUN", help="a run directory")

    add("schema", "print the JSON schema of the configuration, for editors", _schema)
    return parser


# ---- commands -------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from walkers_dist.roles.request import Request

    request = Request(options.config, tuple(options.overrides), options.run_dir, report=not options.no_report)
    if options.dry_run:
        from walkers_dist.roles.dry_run import print_plan

        print_plan(request)
        return DONE
    return _start(request, options.in_process)


def _resume(options: argparse.Namespace) -> int:
    from walkers_dist.roles.request import Request

    request = Request(overrides=tuple(options.overrides), resume=options.run, report=not options.no_report)
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


def _launch(request: str, started: str, tell: str = "") -> int:
    """The launcher's child: owns the forkserver. `tell`: see `launch`."""
    from walkers_dist.distributed import leash, local

    leash.wear()
    local.start_server("walkers_dist.roles.rank")
    from walkers_dist.roles.launching import launch
    from walkers_dist.roles.request import Request

    return launch(Request.from_json(request), float(started), int(tell) if tell else None)


def _analyst(path: str, number: str, analysts: str, gpu: str) -> int:
    from walkers_dist.distributed import leash

    leash.wear()
    from walkers_dist.roles.analyst import analyse

    analyse(path, int(number), int(analysts), gpu or None)
    return DONE


def _report(options: argparse.Namespace) -> int:
    from walkers_dist.distributed import leash

    if leash.VARIABLE in os.environ:
        leash.wear()
    from walkers_dist.api.opened import open_run
    from walkers_dist.report import write_report

    print(write_report(open_run(options.run)))
    return DONE


def _schema(options: argparse.Namespace) -> int:
    from walkers_dist.config.json_schema import schema

    print(json.dumps(schema(), indent=2))
    return DONE
