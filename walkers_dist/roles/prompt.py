"""The prompt: every so many steps the run waits, shows where it stands, and asks what to change.

It asks at a report, whose answer is held back; what is changed is a live change, of the step after it.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Generator
from contextlib import suppress
from typing import TYPE_CHECKING

from walkers_dist.config import merge, text
from walkers_dist.config.errors import RunFailed, UserError
from walkers_dist.config.schema import Experiment
from walkers_dist.config.text import inline
from walkers_dist.roles.progress import best_of, say
from walkers_dist.roles.standing import Standing

if TYPE_CHECKING:
    from walkers_dist.roles.desk import Desk

Dialogue = Generator[str, str, int]
"""Yields a question, is sent the answer; returns how many steps later it asks again."""
DIGITS = re.compile("[0-9]{1,18}")
MOST = 8  # walkers whose losses are shown one by one
LONGEST = 65536  # bytes of an answer


class Prompt:
    """`place` is the socket that passes the answers on; `echo` says whether they are still to be shown."""

    def __init__(self, every: int, begin: int, place: str, echo: bool) -> None:
        self._every, self._echo = every, echo
        self._next: int | None = begin + every
        """The step from which on it asks; None once there are no more answers."""
        self._dialogue: Dialogue | None = None
        self._step = begin
        self._typed = b""
        self._channel = socket.socket(socket.AF_UNIX)
        self._channel.connect(place)
        self._channel.setblocking(False)

    def is_due(self, t: int) -> bool:
        return self._next is not None and t >= self._next

    def begin(self, desk: Desk, experiment: Experiment, t: int) -> None:
        """Ask the first question, at the report of step `t`."""
        if sys.stdout.isatty():
            say("")  # the line that moves ends here
        for line in where_it_stands(desk.standing, experiment, t):
            say(line)
        self._step, self._dialogue = t, ask(desk, self._every)
        say(next(self._dialogue), end="")

    def is_answered(self) -> bool:
        """Whether what is asked has all its answers now; takes in those that have come."""
        if not self._dialogue:
            return False
        while self._dialogue:
            with suppress(BlockingIOError):
                while b"\n" not in self._typed and len(self._typed) < LONGEST:
                    if not (data := self._channel.recv(4096)):
                        return self._has_no_more()
                    self._typed += data
            line, newline, rest = self._typed.partition(b"\n")
            if not newline and len(line) < LONGEST:
                return False
            self._typed = rest
            self._hear(line)
        return True

    def end(self) -> None:
        """It goes on, whether or not everything was answered."""
        if self._dialogue:
            say("")
            self._dialogue, self._next = None, self._step + self._every

    def _hear(self, typed: bytes) -> None:
        assert self._dialogue
        line = "".join(filter(str.isprintable, typed.decode(errors="replace"))).strip()
        if self._echo:
            say(line)
        try:
            say(self._dialogue.send(line), end="")
        except StopIteration as told:
            self._dialogue, self._next = None, self._step + told.value

    def _has_no_more(self) -> bool:
        """The last line may have no end; after it, nothing is asked."""
        if self._typed:
            self._hear(self._typed)
            self._typed = b""
        if self._dialogue:
            say("no more answers")
        self._dialogue, self._next = None, None
        return True


def ask(desk: Desk, every: int) -> Dialogue:
    """What is asked at a pause: when to ask again, then one change after another."""
    steps = None
    while steps is None:
        word = yield f"steps until it asks again [{every}]: "
        if word == "stop":
            return _stop(desk)
        if word in ("", str(every)) or (DIGITS.fullmatch(word) and int(word)):
            steps = int(word or every)
        else:
            say(f"{word}: must be a number of steps, at least 1; nothing for {every}; or stop")
    question = "change (key=value, a learning rate, or stop; nothing to go on): "
    while word := (yield question):
        question = "change: "
        if word == "stop":
            return _stop(desk)
        try:
            say(desk.change([_understood(word)], None)["says"])
        except (UserError, RunFailed) as error:
            say(str(error))
    return steps


def _understood(word: str) -> tuple[str, object]:
    """The key and the value of a change; a number alone is the learning rate. Raises UserError."""
    if "=" in word:
        key, _, value = word.partition("=")
        return merge.split(f"{key.strip()}={value}")
    with suppress(UserError):
        value_alone = text.parse(word)
        if isinstance(value_alone, int | float) and not isinstance(value_alone, bool):
            return "dynamics.lr", value_alone
    raise UserError(f"{word}: must be key=value, a number for dynamics.lr, stop, or nothing to go on")


def _stop(desk: Desk) -> int:
    try:
        say(desk.stop()["says"])
    except (UserError, RunFailed) as error:
        say(str(error))
    return 1


def where_it_stands(standing: Standing, experiment: Experiment, t: int) -> list[str]:
    """A line, and one of the losses where some were measured."""
    head = [f"step {t} of {experiment.steps}", f"dynamics.lr = {inline(experiment.dynamics.lr)}"]
    if standing.speed:
        head.insert(1, f"{standing.speed:.4g} steps/s")
    if not standing.losses:
        return [", ".join(head)]
    walkers = {name: loss for name, loss in standing.losses.items() if name != "center"}
    if len(walkers) > MOST:
        order = best_of(walkers)
        walkers = {f"best {order[0]}": walkers[order[0]], f"worst {order[-1]}": walkers[order[-1]]}
    center = {"center": standing.losses["center"]} if "center" in standing.losses else {}
    losses = ", ".join(f"{name} {loss:.4g}" for name, loss in {**center, **walkers}.items())
    return [", ".join(head), f"loss at step {standing.measured}: {losses}"]
