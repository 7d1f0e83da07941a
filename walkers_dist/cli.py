"""The `walkers` command: its words are in `commands/`, here is what they share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from walkers_dist.commands import (
    analyzing,
    citing,
    exporting,
    knowing,
    probing,
    reading,
    running,
    steering,
    submitting,
    sweeping,
    watching,
)
from walkers_dist.commands.declaring import Command
from walkers_dist.config.errors import FAILED, INTERRUPTED, WRONG_INPUT, RunFailed, UserError

GROUPS = (
    running,
    submitting,
    sweeping,
    steering,
    watching,
    probing,
    analyzing,
    reading,
    exporting,
    citing,
    knowing,
)
"""In the order of the list that help shows."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"walkers: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(WRONG_INPUT)


def main(arguments: Sequence[str] | None = None, default: str | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted.

    `default` is the command of words that do not begin with one.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["_launch"]:
        return running.launch(*words[1:])
    if words[:1] == ["_analyst"]:
        return running.analyst(*words[1:])
    if words[:1] == ["_multiply"]:
        return running.multiply(*words[1:])
    parser, names = _parser()
    if default and words[:1] and words[0] not in names and words[0] not in ("-h", "--help"):
        words = [default, *words]
    options, rest = parser.parse_known_args(words)
    options.words = [word for word in words if word != "--print"]
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
    if getattr(options, "keys_as_options", False):
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


def _parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """And the names of the commands."""
    names: list[str] = []
    parser = _Parser(prog="walkers", description=sys.modules["walkers_dist"].__doc__)
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, does: str, command: Command) -> argparse.ArgumentParser:
        sub = parsers.add_parser(name, help=does, description=does[0].upper() + does[1:] + ".")
        sub.set_defaults(command=command)
        names.append(name)
        return sub

    for group in GROUPS:
        group.declare(add)
    return parser, names
