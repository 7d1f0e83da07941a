"""What can go wrong, and the exit code each kind of wrong leaves with."""

from __future__ import annotations

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


class UserError(Exception):
    """The user's input is wrong: one line that names the key or file, the value and what is allowed."""

    def __init__(self, message: object) -> None:
        super().__init__(" ".join(str(message).split()))


class RunFailed(Exception):
    """The run failed; the message is what `error.txt` holds."""


class PeerLost(Exception):
    """Another process of the run is gone: its own error is the one to read, so this one is silent."""
