"""A line that says where the run stands: moving in a terminal, one every tenth of the way elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping

REFRESH = 0.2  # s


def say(line: str, end: str = "\n") -> None:
    """Print a line for whoever reads along; the run goes on where the reader (a pipe, a terminal) has left."""
    try:
        print(line, end=end, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Line:
    """One line that moves in a terminal, a few times a second; elsewhere a line for each tenth of the way."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self._moving = sys.stdout.isatty()
        self._shown = 0.0
        self._tenth = -1

    def is_due(self, tenth: int, last: bool = False) -> bool:
        """Whether it is to be shown now, so many tenths of the way being made."""
        now = time.monotonic()
        due = last or now - self._shown >= REFRESH if self._moving else tenth != self._tenth
        if due:
            self._shown, self._tenth = now, tenth
        return due

    def show(self, line: str) -> None:
        if self._moving:
            width = shutil.get_terminal_size().columns - 1
            say("\r" + line[:width].ljust(width), end="")
        else:
            say(line)

    def end(self) -> None:
        """What is said next begins a line of its own."""
        if self._moving:
            say("")


def best_of(losses: Mapping[str, float]) -> list[str]:
    """The walkers, without the center, the one of the smallest loss first and those that diverged last."""
    walkers = [name for name in losses if name != "center"]
    return sorted(walkers, key=lambda name: (losses[name] != losses[name], losses[name]))


class Progress:
    def __init__(self, begin: int) -> None:
        self._begin, self._shown_line = begin, Line()

    def show(self, t: int, last: int, losses: Mapping[str, float], measuring: float) -> None:
        """`losses` by walker; `measuring` is the share of the time that went into rows."""
        shown = self._shown_line
        if shown.is_due(10 * t // max(last, 1), last=t >= last):
            shown.show(self._line(t, last, losses, measuring, time.monotonic() - shown.started))

    def _line(self, t: int, last: int, losses: Mapping[str, float], measuring: float, seconds: float) -> str:
        rate = (t - self._begin) / max(seconds, 1e-9)
        best = best_of(losses)[0]
        parts = [f"step {t:>{len(str(last))}}/{last}", f"{rate:.0f} steps/s"]
        if "center" in losses:
            parts.append(f"loss center {losses['center']:.4g}")
        parts += [f"best {best} {losses[best]:.4g}", f"measuring {100 * measuring:.0f} %"]
        if rate > 0:
            parts.append(f"{duration((last - t) / rate)} left")
        return "  ".join(parts)

    def done(self, last: int, reason: str | None = None) -> None:
        """The last line: where the run has ended, and why, if not because its steps are made."""
        self._shown_line.end()
        say(f"ended at step {last}: {reason or 'all steps are made'}")


def duration(seconds: float) -> str:
    """As m:ss or h:mm:ss."""
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}" if hours else f"{minutes}:{s:02d}"
