"""What a process does when its role fails: the first one to fail says why, the others leave silently."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable

from walkers_dist.config.errors import FAILED, PeerLost, RunFailed, UserError
from walkers_dist.records.run_directory import RunDirectory

GRACE = 5.0  # s that a process which lost a peer waits for that peer's own error


class Guard:
    """Sends what a process says to standard error into its log, and keeps the terminal for the one error to read."""

    def __init__(self, run: RunDirectory, name: str) -> None:
        self.run, self.name = run, name
        self._terminal = os.dup(2)
        run.logs.mkdir(exist_ok=True)
        path = run.logs / f"{name.replace(' ', '-')}.log"
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        sys.stderr.flush()
        os.dup2(log, 2)
        os.close(log)

    def play(self, role: Callable[[], int]) -> int:
        """Play a role; returns its exit code, or that of a failure."""
        try:
            return role()
        except PeerLost as error:
            print(f"a peer is gone: {error}", file=sys.stderr, flush=True)
            deadline = time.monotonic() + GRACE
            while not self.run.error.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            self.fail("lost its connection to another process of the run")
        except (UserError, RunFailed) as error:
            self.fail(str(error))
        except Exception as error:
            traceback.print_exc()
            self.fail(f"{type(error).__name__}: {error}", traceback.format_exc())
        return FAILED

    def fail(self, what: str, details: str = "") -> None:
        """Write `error.txt` and show its first line, unless another process did."""
        line = f"{self.name}: {what}"
        if self.run.fail(f"{line}\n{details}"):
            os.write(self._terminal, f"walkers: {line} (see {self.run.error})\n".encode())
        if self.run.owns():
            with contextlib.suppress(OSError):  # a full disk
                self.run.update_info(status="failed")
