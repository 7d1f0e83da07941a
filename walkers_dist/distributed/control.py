"""The control channel, the run's side: a thread that hears commands, only from whoever has the key of this start.

Connections are encrypted and authenticated (CURVE); messages are JSON. Nothing that comes in can end the thread, and
its end would not end the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message
from zmq.utils.z85 import decode

from walkers_dist.distributed import devices
from walkers_dist.records.control import Address, Key, remove_way, write_way
from walkers_dist.records.run_directory import RunDirectory

Answer = Callable[[object], dict[str, Any]]
LONGEST = 65536  # bytes of a request: a longer one ends its connection
HANDSHAKE = 5000  # ms that a peer has to show its key
MOST_LINES = 1000  # of the log of one start: an attack fills no disk


@contextlib.contextmanager
def listening(
    run: RunDirectory, answer: Answer, bind: str, head: str = "127.0.0.1", beyond: str | None = None
) -> Iterator[None]:
    """Answer commands as long as the context lasts; a run that cannot be spoken to goes on all the same.

    `bind`: `loopback`, or `host` for the address by which others reach this machine; `head` is where ranks meet, and
    `beyond` the address of one that is on another host.
    """
    log = Log(run.logs / "control.log")
    address = "127.0.0.1" if bind == "loopback" else devices.reachable_address(head, beyond)
    try:
        server = Server(run, answer, address, log)
    except (OSError, zmq.ZMQError) as error:
        print(f"warning: the run takes no commands: {error}", file=sys.stderr, flush=True)
        yield
        return
    try:
        yield
    finally:
        server.close()


class Log:
    """A line for everybody who was refused."""

    def __init__(self, path: Path) -> None:
        self.path, self.lines = path, 0

    def say(self, line: str) -> None:
        self.lines += 1
        if self.lines > MOST_LINES:
            return
        line = "no more is noted of this start" if self.lines == MOST_LINES else line
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8") as file:
            file.write(f"{now} {' '.join(line.split())}\n")


class Server:
    def __init__(self, run: RunDirectory, answer: Answer, host: str, log: Log) -> None:
        self._answer, self._log, self.run = answer, log, run
        self._context = zmq.Context()  # of its own: authentication is a matter of the whole context
        public, secret = zmq.curve_keypair()
        theirs_public, theirs_secret = zmq.curve_keypair()
        self._theirs = decode(theirs_public)
        self._accepted: set[int] = set()
        """Connections of which no request has come yet, by file descriptor."""
        self._ending, self._ends = os.pipe()
        try:
            self._gate = self._context.socket(zmq.REP)
            self._gate.bind("inproc://zeromq.zap.01")  # whom to let in: RFC 27
            self._socket = self._context.socket(zmq.ROUTER)
            options: dict[int, int | bytes] = {
                zmq.CURVE_SERVER: 1,
                zmq.CURVE_PUBLICKEY: public,
                zmq.CURVE_SECRETKEY: secret,
                zmq.MAXMSGSIZE: LONGEST,
                zmq.HANDSHAKE_IVL: HANDSHAKE,
                zmq.IPV6: int(":" in host),
            }
            for option, value in options.items():
                self._socket.setsockopt(option, value)
            events = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
            self._monitor = self._socket.get_monitor_socket(events)
            host = f"[{host}]" if ":" in host else host
            port = self._socket.bind_to_random_port(f"tcp://{host}")
            address = Address(f"tcp://{host}:{port}", socket.gethostname(), public.decode())
            write_way(run, address, Key(theirs_public.decode(), theirs_secret.decode()))
        except BaseException:
            self._end()
            raise
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.close(self._ends)
        self._thread.join(2)
        with contextlib.suppress(OSError):
            remove_way(self.run)

    def _end(self) -> None:
        self._context.destroy(linger=0)
        os.close(self._ending)

    def _run(self) -> None:
        poller = zmq.Poller()
        for each in (self._gate, self._monitor, self._socket, self._ending):
            poller.register(each, zmq.POLLIN | zmq.POLLERR)
        does = {self._gate: self._admit, self._monitor: self._watch, self._socket: self._hear}
        try:
            while True:
                ready = dict(poller.poll())
                if self._ending in ready:
                    return
                for each, do in does.items():
                    if each in ready:
                        do()
        except Exception as error:
            self._log.say(f"no more commands are heard: {type(error).__name__}: {error}")
        finally:
            self._end()

    def _admit(self) -> None:
        """Whether a peer is let in: it must have the key."""
        version, request, _domain, address, _identity, mechanism, *credentials = self._gate.recv_multipart()
        known = mechanism == b"CURVE" and credentials == [self._theirs]
        if not known:
            self._log.say(f"refused {address.decode(errors='replace')}: it has another key")
        code = (b"200", b"OK") if known else (b"400", b"another key")
        self._gate.send_multipart([version, request, *code, b"", b""])

    def _watch(self) -> None:
        """Note who came and went without a request: without a key, with garbage, or with too long a message."""
        event = parse_monitor_message(self._monitor.recv_multipart())
        if event["event"] == zmq.EVENT_ACCEPTED:
            self._accepted.add(event["value"])
        elif event["value"] in self._accepted:
            self._accepted.discard(event["value"])
            self._log.say(f"dropped a connection: no key, no command, or one of more than {LONGEST} bytes")

    def _hear(self) -> None:
        frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        self._accepted.discard(frames[-1].get(zmq.SRCFD))
        sender, *envelope = (frame.bytes for frame in frames)
        answer = self._answered(envelope[1] if len(envelope) == 2 and not envelope[0] else b"")
        if not answer.get("ok"):
            self._log.say(f"refused a command: {answer.get('says')}")
        with contextlib.suppress(zmq.Again):  # who does not listen to so many answers
            self._socket.send_multipart([sender, b"", json.dumps(answer).encode()], zmq.NOBLOCK)

    def _answered(self, message: bytes) -> dict[str, Any]:
        try:
            request = json.loads(message)
        except (ValueError, RecursionError):
            return {"ok": False, "says": "the request is none: JSON is expected"}
        try:
            return self._answer(request)
        except Exception as error:
            return {"ok": False, "says": f"the run could not answer: {type(error).__name__}: {error}"}
