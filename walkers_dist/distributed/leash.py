"""No orphans: every process ends when the one that started it is gone, however that one died.

A child started with `tie()` holds the reading end of a pipe whose writing end only its parent has; a child of the
forkserver has such a pipe already; a rank under torchrun or srun asks the kernel (Linux) or watches its parent's
number (macOS).
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

VARIABLE = "WALKERS_LEASH"
PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def tie() -> Iterator[dict[str, Any]]:
    """Keyword arguments for `subprocess.Popen` of a child on a leash; the leash lasts as long as this process.

    The writing end is kept open on purpose: the operating system closes it when this process ends, and only then.
    """
    reading, _writing = os.pipe()
    os.set_inheritable(reading, True)
    try:
        yield {"pass_fds": (reading,), "env": {**os.environ, VARIABLE: str(reading)}}
    finally:
        os.close(reading)


def wear() -> None:
    """Put this process on its leash; call it first thing."""
    parent = multiprocessing.parent_process()
    if reading := os.environ.pop(VARIABLE, None):
        _end_when(lambda: os.read(int(reading), 1))
    elif parent is not None:
        _end_when(lambda: multiprocessing.connection.wait([parent.sentinel]))
    elif sys.platform == "linux":
        before = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != before:  # the parent died in between
            os._exit(1)
    else:
        before = os.getppid()

        def watch() -> None:
            while os.getppid() == before:
                time.sleep(0.5)

        _end_when(watch)


def _end_when(wait: Any) -> None:
    def hold() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=hold, name="leash", daemon=True).start()
