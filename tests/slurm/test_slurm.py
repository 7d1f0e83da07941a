"""On a real SLURM of two nodes, each with a loopback of its own: jobs end, are warned, requeued, cancelled."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from walkers_dist.records.checkpoints import newest_checkpoint
from walkers_dist.records.run_directory import RunDirectory


def status(run: Path) -> str:
    return json.loads((run / "run.json").read_text())["status"]


@pytest.fixture
def undisturbed(slurm, tables):
    """The tables of the experiment run here, without the pauses."""
    slurm.walkers("run", "bowl.yaml", "--run-dir", "undisturbed", "--no-report")
    return tables(slurm.folder / "undisturbed")


def test_two_nodes_from_end_to_end(slurm, tables, undisturbed) -> None:
    """With the report; in a folder whose name has a space, a quote and an umlaut."""
    number = slurm.submit("bowl.yaml", "--nodes", 2, "--time", 5)
    assert slurm.end(number) == "COMPLETED", slurm.log(number)
    (run,) = slurm.folder.glob("runs/bowl-*")
    assert status(run) == "done" and (run / "report.html").exists()
    assert tables(run) == undisturbed
    assert slurm.job(number)["NumNodes"] == "2"


def test_one_node(slurm, tables, undisturbed) -> None:
    number = slurm.submit("bowl.yaml", "--run-dir", "one node's", "--no-report", "--time", 5, "--sbatch", "comment=a b")
    assert slurm.end(number) == "COMPLETED", slurm.log(number)
    assert tables(slurm.folder / "one node's") == undisturbed
    assert slurm.job(number)["Comment"] == "a"  # of "a b": scontrol's words are split


@pytest.mark.timeout(500)
@pytest.mark.parametrize("nodes", [1, 2])
def test_warned_before_its_time_is_up_it_goes_on_later(slurm, tables, nodes: int) -> None:
    """SLURM's minutes are whole, and it warns within half a minute here; several turns may be needed.

    The more so on a busy machine: the analyst gives way to everybody, and begins anew with each turn.
    """
    long = ("steps=300", "checkpoint.every=1000")  # the warning's own checkpoint is what it goes on from
    number = slurm.submit(
        "bowl.yaml", *long, "landscape.pause=0.1", "--nodes", nodes, "--time", 1, "--sbatch", "signal=B:USR1@30",
        "--no-report",
    )  # fmt: skip
    slurm.walkers("run", "bowl.yaml", *long, "--run-dir", "undisturbed", "--no-report")
    assert slurm.end(number, patience=400.0) == "COMPLETED", slurm.log(number)
    (run,) = slurm.folder.glob("runs/bowl-*")
    turns = int(slurm.job(number)["Restarts"])
    assert turns >= 1 and status(run) == "done"
    told = [line.split(",")[2:4] for line in (run / "events.csv").read_text().splitlines()[1:]]
    stop, resume = ["stop", "SIGUSR1"], ["resume", ""]
    assert told[:2] == [stop, resume]
    assert [event for event in told if event != stop] == [resume] * turns  # with all steps made, nothing is stopped
    assert tables(run) == tables(slurm.folder / "undisturbed")


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_cancelled_job_leaves_a_checkpoint(slurm, tables, nodes: int) -> None:
    """And `walkers resume` goes on from it."""
    asked = ("bowl.yaml", "landscape.pause=0.05", "steps=300", "checkpoint.every=1000", "--run-dir", "run")
    number = slurm.submit(*asked, "--nodes", nodes, "--no-report")
    run = slurm.folder / "run"
    slurm.at_step(number, run, 30)
    slurm.run("scancel", number)
    assert slurm.end(number) == "CANCELLED"
    slurm.until(lambda: status(run) == "interrupted", number)
    checkpoint = newest_checkpoint(RunDirectory(run))
    assert checkpoint is not None and checkpoint.step > 30 and not checkpoint.passed_over
    slurm.walkers("resume", run, "--no-report")
    slurm.walkers("run", "bowl.yaml", "steps=300", "checkpoint.every=1000", "--run-dir", "undisturbed", "--no-report")
    assert tables(run) == tables(slurm.folder / "undisturbed")


def test_a_failed_job_is_not_requeued(slurm) -> None:
    """Its first line is in the job's log, and its code is the run's."""
    number = slurm.submit("bowl.yaml", "dynamics.lr=1e30", "--nodes", 2, "--run-dir", "run", "--no-report")
    assert slurm.end(number) == "FAILED"
    assert slurm.job(number)["ExitCode"] == "1:0" and slurm.job(number)["Restarts"] == "0"
    assert "diverged" in slurm.log(number) and status(slurm.folder / "run") == "failed"


def test_a_sweep_as_an_array(slurm, tables) -> None:
    """One point is done before, one fails, the others do not mind; a second call submits that one alone."""
    sweep = ("sweep", "bowl.yaml", "dynamics.lr=0.1,0.2,1e30", "seed=0", "--no-report")
    points = {lr: slurm.folder / "runs" / "bowl-sweep" / f"dynamics.lr={lr}" for lr in ("0.1", "0.2", "1e30")}
    slurm.walkers("run", "bowl.yaml", "dynamics.lr=0.1", "--run-dir", points["0.1"], "--no-report")
    number = re.match(r"job (\d+): ", slurm.walkers(*sweep, "--slurm", "--nodes", 2, "--jobs", 1))[1]
    assert slurm.end(number) == "COMPLETED, FAILED", slurm.log(number)
    assert {task["ArrayTaskId"] for task in slurm.tasks(number)} == {"1", "2"}
    assert [status(run) for run in points.values()] == ["done", "done", "failed"]
    slurm.walkers("run", "bowl.yaml", "dynamics.lr=0.2", "--run-dir", "alone", "--no-report")
    assert tables(points["0.2"]) == tables(slurm.folder / "alone")
    assert "#SBATCH --array=2\n" in slurm.walkers(*sweep, "--slurm", "--print")


def test_what_it_does_not_wait_for_is_a_job_of_its_own(slurm, tables) -> None:
    """The analyst has much more to do than the walkers."""
    asked = ("bowl.yaml", "curvature={every: 1, full: always}", "snapshots.every=1", "walkers=1")
    said = slurm.walkers("submit", *asked, "at_end=leave", "--no-report", "--nodes", 2, "--run-dir", "run")
    first, second = re.findall(r"^job (\d+): ", said, re.MULTILINE)
    assert slurm.end(first) == "COMPLETED", slurm.log(first)
    assert "measurements are pending" in slurm.log(first)
    assert slurm.end(second) == "COMPLETED", slurm.log(second)
    run = slurm.folder / "run"
    assert status(run) == "done" and json.loads((run / "run.json").read_text())["pending"] == []
    slurm.walkers("run", *asked, "--run-dir", "waits", "--no-report")
    assert tables(run) == tables(slurm.folder / "waits")


def test_a_head_that_knows_its_own_name_by_loopback_only(slurm, tables, undisturbed) -> None:
    """As Debian's hosts do: their ranks meet the store on 127.0.1.1, those of the other node on its real address."""
    text = slurm.walkers("submit", "bowl.yaml", "--nodes", 2, "--run-dir", "run", "--no-report", "--print")
    told = text.replace('exec "$@"', '[ "$SLURM_NODEID" != 0 ] || export MASTER_ADDR=127.0.1.1; exec "$@"')
    assert told != text
    (slurm.folder / "job.sh").write_text(told)
    number = slurm.run("sbatch", "--parsable", "job.sh").strip()
    assert slurm.end(number) == "COMPLETED", slurm.log(number)
    assert tables(slurm.folder / "run") == undisturbed
