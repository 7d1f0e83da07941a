"""The way to a running experiment: the files in its `control/` that hold an address, and the key that opens it.

Only the user who started the run can read them.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from walkers_dist.config.errors import UserError
from walkers_dist.records import disk
from walkers_dist.records.run_directory import RunDirectory

ADDRESS, KEY = "address.json", "key.json"


@dataclass(frozen=True)
class Address:
    """Where the coordinator listens: `tcp://…`, on which host, and its public key."""

    endpoint: str
    host: str
    server: str


@dataclass(frozen=True)
class Key:
    """The pair of keys that whoever asks must have; another one for each start."""

    public: str
    secret: str


T = TypeVar("T", Address, Key)


def write_way(run: RunDirectory, address: Address, key: Key) -> None:
    """Leave the key and then the address, for this user alone."""
    run.control.mkdir(exist_ok=True)
    run.control.chmod(0o700)
    _write(run.control / KEY, asdict(key))
    _write(run.control / ADDRESS, asdict(address))


def remove_way(run: RunDirectory) -> None:
    for name in (ADDRESS, KEY):
        (run.control / name).unlink(missing_ok=True)


def read_way(run: RunDirectory) -> tuple[Address, Key] | None:
    """None where nobody listens, or where the one who did has left nothing. Raises UserError for a damaged file."""
    address = _read(run.control / ADDRESS, Address)
    if address is None:
        return None
    key = _read(run.control / KEY, Key)
    if key is None:
        raise UserError(f"{run.control / KEY}: is missing: without it the run takes no command")
    return address, key


def _write(path: Path, fields: dict[str, str]) -> None:
    temporary = disk.temporary_name(path)
    temporary.unlink(missing_ok=True)  # so that it is made anew, with these rights
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        json.dump(fields, file)
        file.flush()
        os.fsync(file.fileno())
    disk.put_in_place(temporary, path)


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        fields = json.loads(path.read_bytes())
        if not all(isinstance(value, str) for value in fields.values()):
            raise TypeError
        return kind(**fields)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{path}: is damaged") from None
