"""The control channel, the user's side: one request, one answer."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import zmq

from walkers_dist.config.errors import UserError
from walkers_dist.records.control import Address, Key, read_way
from walkers_dist.records.run_directory import RunDirectory

WORDS = ("status", "pause", "continue", "stop", "snapshot", "set")
SOON, PATIENCE = 500, 10_000  # ms until one looks whether anybody is there, and until one gives up
BEGINNING = 5.0  # s that a run may take from its directory to its address
LONGEST = 65536  # bytes


def ask(run: RunDirectory, request: Mapping[str, Any]) -> dict[str, Any]:
    """What the run answers: `ok`, the line that it `says`, and more. Raises UserError where it does not answer."""
    way = _way(run)
    message = json.dumps(request).encode()
    if len(message) > LONGEST:
        raise UserError(f"the command is too long: {len(message)} bytes, at most {LONGEST}")
    return json.loads(_exchange(run, *way, message))


def _way(run: RunDirectory) -> tuple[Address, Key]:
    deadline = time.monotonic() + BEGINNING
    while (way := read_way(run)) is None:
        if time.monotonic() > deadline or not run.is_owned():
            raise UserError(f"{run.path}: does not answer: the run is not running")
        time.sleep(0.05)
    return way


def _exchange(run: RunDirectory, address: Address, key: Key, message: bytes) -> bytes:
    context = zmq.Context()
    try:
        channel = context.socket(zmq.REQ)
        channel.setsockopt(zmq.IPV6, int("[" in address.endpoint))
        channel.setsockopt_string(zmq.CURVE_SERVERKEY, address.server)
        channel.setsockopt_string(zmq.CURVE_PUBLICKEY, key.public)
        channel.setsockopt_string(zmq.CURVE_SECRETKEY, key.secret)
        channel.connect(address.endpoint)
        channel.send(message)
        if not channel.poll(SOON):
            if _is_gone(run, address):
                raise UserError(f"{run.path}: does not answer: the run is not running{_or_elsewhere(address)}")
            if not channel.poll(PATIENCE):
                raise UserError(f"{run.path}: does not answer within {PATIENCE // 1000} s at {address.endpoint}")
        return channel.recv()
    except zmq.ZMQError as error:  # keys or an address that are none
        raise UserError(f"{run.control}: is damaged: {error}") from None
    finally:
        context.destroy(linger=0)


def _or_elsewhere(address: Address) -> str:
    """What else may be wrong where the run began on another host."""
    if address.host == socket.gethostname() or "127.0.0.1" not in address.endpoint:
        return ""
    return f", or it listens on {address.host} alone: control.bind = host is heard on other hosts too"


def _is_gone(run: RunDirectory, address: Address) -> bool:
    """Whether nobody listens there, or nobody owns the run any more."""
    if address.host == socket.gethostname() and not run.is_owned():
        return True
    place = urlsplit(address.endpoint)
    try:
        socket.create_connection((place.hostname, place.port or 0), timeout=PATIENCE / 1000).close()
    except OSError:
        return True
    return False
