"""The control channel under attack: nobody without the key is heard, nothing that comes in disturbs the run."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from urllib.parse import urlsplit

import pytest
import zmq

import walkers_dist as wd

HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
GREETING = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00CURVE" + bytes(15 + 1 + 31)


class Attacker:
    def __init__(self, run):
        self.run = run
        self.address = json.loads((run / "control/address.json").read_text())
        self.key = json.loads((run / "control/key.json").read_text())
        place = urlsplit(self.address["endpoint"])
        self.place = place.hostname, place.port

    def raw(self, data=b""):
        """A connection on which this is sent."""
        link = socket.create_connection(self.place, timeout=10)
        with contextlib.suppress(OSError):  # it was cut off meanwhile
            link.sendall(data)
        return link

    def says(self, message, *, key=None, server=None, secured=True, kind=zmq.REQ, patience=1500):
        """The answer to a message (of several frames, if it is a list); None where there is none."""
        key = key or (self.key["public"], self.key["secret"])
        with zmq.Context() as context, context.socket(kind) as link:
            link.linger = 0
            if secured:
                link.setsockopt_string(zmq.CURVE_SERVERKEY, server or self.address["server"])
                link.setsockopt_string(zmq.CURVE_PUBLICKEY, key[0])
                link.setsockopt_string(zmq.CURVE_SECRETKEY, key[1])
            link.connect(self.address["endpoint"])
            link.send_multipart(message if isinstance(message, list) else [message])
            return json.loads(link.recv_multipart()[-1]) if link.poll(patience) else None

    def refused(self, message, **keywords):
        answer = self.says(message, **keywords)
        assert answer is not None and answer["ok"] is False
        return answer["says"]


def pair():
    return tuple(key.decode() for key in zmq.curve_keypair())


STATUS = json.dumps({"word": "status"}).encode()


def attack(run):
    """Everything at once; returns what was logged of it."""
    one = Attacker(run.run)
    assert one.says(STATUS, key=pair(), patience=700) is None, "another key"
    assert one.says(STATUS, secured=False, patience=700) is None, "no key"
    assert one.says(STATUS, server=pair()[0], patience=700) is None, "another server's key"
    garbage = (HTTP, bytes(100), b"\xff" * 5000, GREETING, GREETING + b"\xff" * 999, b"\xff" * 10**7)
    links = [one.raw(data) for data in garbage]
    assert one.says(b"x" * 10**7, patience=700) is None, "10 MB"
    links += [one.raw() for _ in range(200)]
    assert one.says(STATUS)["ok"] is True, "it is heard all the same"
    for link in links:
        link.close()
    said = {
        "not JSON": one.refused(b"\x80\x04status"),
        "nested": one.refused(b"[" * 50_000),
        "no mapping": one.refused(b"[1]"),
        "a number": one.refused(b"3"),
        "another key of it": one.refused(json.dumps({"word": "status", "run": "rm"}).encode()),
        "unknown word": one.refused(json.dumps({"word": "exec"}).encode()),
        "word of another type": one.refused(json.dumps({"word": ["status"]}).encode()),
        "changes of another type": one.refused(json.dumps({"word": "set", "changes": "dynamics.lr=1"}).encode()),
        "changes of numbers": one.refused(json.dumps({"word": "set", "changes": [1]}).encode()),
        "too many": one.refused(json.dumps({"word": "set", "changes": ["dynamics.lr=1"] * 101}).encode()),
        "at of another type": one.refused(json.dumps({"word": "set", "changes": ["steps=9"], "at": True}).encode()),
        "several frames": one.refused([STATUS, STATUS]),
        "wrong value": run.ask("set", "dynamics.lr=[1, 2]")["says"],
        "not while running": run.ask("set", "seed=3")["says"],
        "neither": run.ask("set", "landscape.kind=os:system")["says"],
        "nan": run.ask("set", "dynamics.lr=.nan")["says"],
        "one of two": run.ask("set", "dynamics.lr=0.5", "dynamics.momentum=many")["says"],
        "tag": run.ask("set", "dynamics.lr=!!python/object/apply:os.system [ls]")["says"],
    }
    assert one.says([b"", STATUS], kind=zmq.DEALER)["ok"] is True
    one.says(STATUS, kind=zmq.DEALER, patience=200)  # without the frame that ends an envelope
    assert run.ask("status")["ok"] is True
    return said


@pytest.mark.parametrize("processes", [False, True], ids=["in process", "processes"])
def test_training_goes_on_as_if_nothing_were(processes, slow, spoken_to, walkers, tools, tmp_path):
    config = {**slow, "steps": 100_000, "analysts": 0, "curvature": None, "probes": None}

    def everything(run):
        run.at_step(5)
        said = attack(run)
        return said, run.tell("stop")

    if processes:
        one = walkers(tmp_path / "run", config)
        one.speaker.listens()
        said, last = everything(one.speaker)
        assert one.wait() == 0, one.log.read_text()
        run = one.run
    else:
        run, (said, last) = spoken_to(config, everything)
    assert len(set(said.values())) >= 13 and all("\n" not in why for why in said.values())
    assert "cannot change while running" in said["not while running"] and "must be" in said["wrong value"]
    assert "exec: is no command" in said["unknown word"]
    log = (run / "logs/control.log").read_text()
    assert log.count("it has another key") == 1
    assert log.count("dropped a connection") >= 200
    assert log.count("refused a command") >= len(said)
    assert not (run / "error.txt").exists()
    twin = {**config, "steps": last, "landscape": {"kind": "bowls:Bowl"}}
    twin["schedule"] = [entry for entry in slow["schedule"] if entry["at"] <= last]
    undisturbed = wd.run(twin, run_dir=tmp_path / "twin", in_process=not processes, report=False)
    tools.assert_equal(tools.contents(run), tools.contents(undisturbed.path))


def test_two_hundred_who_have_the_key(slow, spoken_to):
    """All are answered, and quickly."""

    def what(run):
        run.at_step(1)
        one = Attacker(run.run)
        with zmq.Context() as context:
            links = []
            for _ in range(200):
                links.append(link := context.socket(zmq.REQ))
                link.linger = 0
                link.setsockopt_string(zmq.CURVE_SERVERKEY, one.address["server"])
                link.setsockopt_string(zmq.CURVE_PUBLICKEY, one.key["public"])
                link.setsockopt_string(zmq.CURVE_SECRETKEY, one.key["secret"])
                link.connect(one.address["endpoint"])
            began = time.perf_counter()
            for link in links:
                link.send(STATUS)
            answers = [json.loads(link.recv()) if link.poll(20_000) else None for link in links]
            seconds = time.perf_counter() - began
            for link in links:
                link.close()
        return answers, seconds

    _, (answers, seconds) = spoken_to({**slow, "analysts": 0, "schedule": [], "steps": 600}, what)
    assert all(answer and answer["ok"] for answer in answers)
    assert seconds < 15


def test_a_run_goes_on_where_it_cannot_be_spoken_to(slow, monkeypatch, tools, tmp_path, capfd):
    def broken(*_):
        raise OSError(28, "No space left on device")

    config = {**slow, "steps": 30, "schedule": [], "analysts": 0, "landscape": {"kind": "bowls:Bowl"}}
    monkeypatch.setattr("walkers_dist.distributed.control.write_way", broken)
    assert wd.run(config, run_dir=tmp_path / "run", report=False).status == "done"
    assert "warning: the run takes no commands: [Errno 28] No space left on device" in capfd.readouterr().err


def test_a_run_goes_on_where_its_listener_fails(slow, spoken_to, monkeypatch):
    config = {**slow, "steps": 300, "analysts": 0}

    def what(run):
        run.at_step(5)
        monkeypatch.setattr("walkers_dist.distributed.control.Server._answered", lambda *_: 1 / 0)
        monkeypatch.setattr("walkers_dist.distributed.asking.PATIENCE", 200)
        with pytest.raises(wd.UserError, match="does not answer"):
            run.ask("status")

    run, _ = spoken_to(config, what)
    assert "no more commands are heard: ZeroDivisionError" in (run / "logs/control.log").read_text()
