"""A job is spoken to from elsewhere: from this machine, which is no node of it, and from its other node."""

from __future__ import annotations

import json

import pytest

LONG = ("steps=400", "curvature=null")
ACTS = 0.02
"""The learning rate that is set."""


def change_of(said: str) -> dict:
    (change,) = json.loads(said)["changes"]
    return change


@pytest.fixture
def scheduled(slurm, tables):
    """The tables of the experiment run here, with the change in its schedule."""

    def run(at: int) -> dict:
        schedule = f"schedule=[{{at: {at}, set: {{dynamics.lr: {ACTS}}}}}]"
        slurm.walkers("run", "bowl.yaml", *LONG, schedule, "--run-dir", "scheduled", "--no-report")
        return tables(slurm.folder / "scheduled")

    return run


@pytest.mark.parametrize("asks", [0, 2], ids=["this-machine", "the-other-node"])
def test_a_change_from_elsewhere_acts_on_all_walkers(slurm, tables, scheduled, asks: int) -> None:
    """The coordinator is on the first node; the loopback of who asks is another."""
    number = slurm.submit("bowl.yaml", *LONG, "landscape.pause=0.04", "--nodes", 2, "--run-dir", "run", "--no-report")
    run = slurm.folder / "run"
    slurm.at_step(number, run, 20)
    way = json.loads((run / "control" / "address.json").read_text())
    assert way["endpoint"].startswith(f"tcp://{slurm.address(1)}:")
    standing = json.loads(slurm.walkers("ctl", run, "status", "--json", node=asks))
    assert standing["status"] == "running" and 20 <= standing["step"] < 400 and standing["to_come"] == []
    change = change_of(slurm.walkers("ctl", run, "set", f"dynamics.lr={ACTS}", "--json", node=asks))
    assert slurm.end(number) == "COMPLETED", slurm.log(number)
    assert slurm.walkers("ctl", run, "status").startswith("done at step 400 of 400")
    changed, told = tables(run), {"key": "dynamics.lr", "old": "0.1", "new": str(ACTS)}
    assert changed.pop("events.csv") == [{"step": str(change["step"]), "source": "live", **told}]
    expected = scheduled(change["step"])
    assert expected.pop("events.csv") == [{"step": str(change["step"]), "source": "schedule", **told}]
    assert changed == expected
    slurm.walkers("run", "bowl.yaml", *LONG, "--run-dir", "undisturbed", "--no-report")
    without = [row for row in tables(slurm.folder / "undisturbed")["results.csv"] if row not in changed["results.csv"]]
    acted = {(row["walker"], int(row["step"])) for row in without}
    first = next(step for step in range(0, 400, 5) if step >= change["step"])
    assert {walker for walker, step in acted if step == first + 5} == {"center", "w0", "w1"}
    assert min(step for _, step in acted) >= change["step"]


def test_a_job_that_listens_on_its_own_loopback(slurm) -> None:
    """It is heard on its node alone; elsewhere that is said in one line, and the job goes on."""
    asked = (*LONG, "landscape.pause=0.04", "control.bind=loopback")
    number = slurm.submit("bowl.yaml", *asked, "--nodes", 2, "--run-dir", "run", "--no-report")
    run = slurm.folder / "run"
    slurm.at_step(number, run, 20)
    assert slurm.walkers("ctl", run, "status", node=1).startswith("running at step ")
    for node in (0, 2):
        with pytest.raises(AssertionError, match=r"^walkers: .*: does not answer"):
            slurm.walkers("ctl", run, "status", node=node)
    assert slurm.walkers("ctl", run, "stop", node=1).startswith("stops at step ")
    assert slurm.end(number) == "COMPLETED", slurm.log(number)
