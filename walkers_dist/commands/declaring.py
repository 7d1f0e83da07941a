"""How a command is declared: a name, what it does, the function that does it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Protocol

Command = Callable[[argparse.Namespace], int]
"""Takes the options, returns the exit code."""

KEYS = "every key of the configuration, as key.sub=value; null switches a section off"


class Add(Protocol):
    def __call__(self, name: str, does: str, command: Command) -> argparse.ArgumentParser: ...


def takes_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run directory")


def takes_overrides(parser: argparse.ArgumentParser, what: str = KEYS) -> None:
    parser.add_argument("overrides", metavar="key=value", nargs="*", help=what)
