"""The `walkers` command: its words and options; what each command does is in `commands.py`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from walkers_dist import commands
from walkers_dist.config.errors import FAILED, INTERRUPTED, WRONG_INPUT, RunFailed, UserError

PROBES = ("interpolate", "distances", "plane", "walk", "sharpness", "average", "midpoint")
KEYS = "every key of the configuration, as key.sub=value; null switches a section off"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"walkers: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(WRONG_INPUT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["_launch"]:
        return commands.launch(*words[1:])
    if words[:1] == ["_analyst"]:
        return commands.analyst(*words[1:])
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
    if options.command is commands.probe:
        rest = _as_overrides(rest)
    for word in rest:
        if word.startswith("-") or not hasattr(options, "overrides"):
            raise UserError(f"{word}: is no option or argument of this command (see walkers --help)")
    return rest


def _as_overrides(rest: Sequence[str]) -> list[str]:
    """`--key value` is `key=value`, for the keys of a probe."""
    words, out = iter(rest), []
    for word in words:
        if word.startswith("--") and "=" not in word:
            value = next(words, None)
            if value is None:
                raise UserError(f"{word}: its value is missing")
            word = f"{word}={value}"
        out.append(word.removeprefix("--"))
    return out


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="walkers", description=sys.modules["walkers_dist"].__doc__)
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, does: str, command: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        sub = parsers.add_parser(name, help=does, description=does[0].upper() + does[1:] + ".")
        sub.set_defaults(command=command)
        return sub

    run = add("run", "run the experiment of a configuration here", commands.run)
    run.add_argument("config", metavar="CONFIG", help="a YAML file")
    run.add_argument("overrides", metavar="key=value", nargs="*", help=KEYS)
    run.add_argument("--run-dir", metavar="DIR", help="where the run lies (default: runs/NAME-DATE-TIME)")
    run.add_argument("--in-process", action="store_true", help="all walkers in this process, without a group")
    run.add_argument("--dry-run", action="store_true", help="check everything and print the plan; nothing is run")

    resume = add("resume", "go on with a run from its last checkpoint", commands.resume)
    resume.add_argument("run", metavar="RUN", help="a run directory")
    resume.add_argument("overrides", metavar="key=value", nargs="*", help="keys that may change at a resume")
    resume.add_argument("--in-process", action="store_true", help="all walkers in this process, without a group")

    fork = add("fork", "begin a new run at a step of another", commands.fork)
    fork.add_argument("run", metavar="RUN", help="a run directory")
    fork.add_argument("overrides", metavar="key=value", nargs="*", help=KEYS)
    fork.add_argument("--step", type=int, metavar="S", help="where it begins (default: the last checkpoint)")
    fork.add_argument("--run-dir", metavar="DIR", help="where the new run lies (default: runs/NAME-DATE-TIME)")
    fork.add_argument("--in-process", action="store_true", help="all walkers in this process, without a group")
    for command in (run, resume, fork):
        command.add_argument("--no-report", action="store_true", help="draw no report at the end")

    probe = add("probe", "measure the surface around a run's snapshots, or train between two walkers", commands.probe)
    probe.add_argument("run", metavar="RUN", help="a run directory")
    probe.add_argument("kind", metavar="PROBE", help="|".join(PROBES))
    probe.add_argument("overrides", metavar="key=value", nargs="*", help="keys of the probe; --key value is the same")
    probe.add_argument(
        "--steps", "--step", metavar="S,…", default="last", help="snapshots: last (default), all, or 0,100"
    )
    probe.add_argument(
        "--between", metavar="NAME", nargs=2, help="midpoint: the walkers between which a new run begins"
    )
    probe.add_argument("--no-report", action="store_true", help="do not draw the report again")

    report = add(
        "report", "draw the pictures of a run into its report.html, or of several runs into one page", commands.report
    )
    report.add_argument("runs", metavar="RUN", nargs="+", help="a run directory, or a quoted pattern of such")
    report.add_argument("--out", metavar="FILE", help="the page (default: RUN/report.html; of several: compare.html)")

    data = add("data", "list the data sets and where they lie, or fetch one", commands.data_list)
    what = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    what.add_parser("list", help="which there are, and where").set_defaults(command=commands.data_list)
    fetch = what.add_parser("fetch", help="download one into the cache")
    fetch.add_argument("name", metavar="NAME", help="mnist, fashion_mnist or cifar10")
    fetch.set_defaults(command=commands.data_fetch)

    several = add("list", "show the runs in a folder, a line each", commands.list_runs)
    several.add_argument("folder", metavar="DIR", nargs="?", default="runs", help="the folder (default: runs)")

    compare = add("compare", "show several runs in one table", commands.compare)
    compare.add_argument("runs", metavar="RUN", nargs="+", help="a run directory, or a quoted pattern of such")
    compare.add_argument("--by", metavar="KEY", help="one row per value of this key of the configuration")
    compare.add_argument("--latex", action="store_true", help="as a LaTeX tabular, with rules of booktabs")

    add("schema", "print the JSON schema of the configuration, for editors", commands.schema)
    return parser
