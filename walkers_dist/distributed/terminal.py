"""Answers that somebody types, or that a file or a pipe holds, passed on as they come to the process that asks."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from walkers_dist.config.errors import UserError

LONGEST = 100  # bytes of a socket's path that every system takes


@contextlib.contextmanager
def passed_on(file: str | None) -> Iterator[tuple[str, bool]]:
    """The path of a socket on which the answers can be read, and whether a terminal shows them as they are typed.

    They are those in `file`, or of the standard input. Raises UserError where the file cannot be read.
    """
    with _source(file) as source, _folder() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(place := str(folder / "answers"))
        server.listen(1)
        ending, ends = os.pipe()
        thread = threading.Thread(target=_pass_on, args=(source, server, ending), name="answers", daemon=True)
        thread.start()
        try:
            yield place, os.isatty(source)
        finally:
            os.close(ends)
            thread.join(1)


@contextlib.contextmanager
def _source(file: str | None) -> Iterator[int]:
    if file is not None:
        try:
            opened = Path(file).expanduser().open("rb", buffering=0)
        except OSError as error:
            raise UserError(f"--answers {file}: cannot be read: {error.strerror}") from None
        with opened:
            yield opened.fileno()
        return
    try:
        os.fstat(0)
        source = os.dup(0)
    except OSError:  # closed
        source = os.open(os.devnull, os.O_RDONLY)
    try:
        yield source
    finally:
        os.close(source)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Of this user alone."""
    folder = tempfile.mkdtemp(prefix="walkers-")
    if len(os.fsencode(folder)) + len("/answers") > LONGEST:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="walkers-", dir="/tmp")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _pass_on(source: int, server: socket.socket, ending: int) -> None:
    """Until the run has ended, or the answers have."""
    with contextlib.suppress(OSError):
        if ending in select.select([server.fileno(), ending], [], [])[0]:
            return
        peer, _ = server.accept()
        with peer:
            while ending not in select.select([source, ending], [], [])[0]:
                if not (data := os.read(source, 4096)):
                    return
                peer.sendall(data)
