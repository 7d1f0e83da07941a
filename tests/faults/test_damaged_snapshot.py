"""A snapshot that is damaged before the analyst comes to it: the walkers go on, what is known is kept, it is told."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from walkers_dist.records.index import Index

ASKED = ("analysts=1", "curvature={every: 20, of: [w1], top: 1, bottom: 0, full: never}", "steps=100")


def test_a_damaged_snapshot(walkers, slow: Path) -> None:
    command = walkers("run", slow, *ASKED, "--no-report")
    command.at_step(0)
    analyst = command.playing("analyst 0")
    os.kill(analyst, signal.SIGSTOP)
    index = Index(command.run / "snapshots" / "index.jsonl")
    command.until(lambda: any(entry.step == 40 for entry in index.entries()), "the snapshot of step 40")
    part = command.run / "snapshots" / "step-00000040" / "walkers-1.safetensors"
    good = part.read_bytes()
    part.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    os.kill(analyst, signal.SIGCONT)
    assert command.wait() == 0, command.err
    assert command.status() == "done" and command.leaves_nothing()
    log = command.run / "logs" / "analyst-0.log"
    assert f"analyst 0 was given up, see {log}; " in command.out
    assert f"{part}: is damaged: its SHA-256 is not that of what was written" in log.read_text()
    assert [int(row["step"]) for row in command.rows("eigenvalues")] == [0, 20]

    part.write_bytes(good)
    again = walkers("resume", command.run, "--no-report")
    assert again.wait() == 0 and "given up" not in again.out
    assert [int(row["step"]) for row in again.rows("eigenvalues")] == list(range(0, 101, 20))
