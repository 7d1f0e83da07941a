"""Code of the user's own: whatever it raises becomes one line that says which key it stands behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from walkers_dist.config.errors import UserError


@contextmanager
def users_own(where: str) -> Iterator[None]:
    """Raise `UserError`, starting with `where`, for any exception in the context."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}: {type(error).__name__}: {error}") from error
