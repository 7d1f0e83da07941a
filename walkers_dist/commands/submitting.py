"""`walkers submit`: an experiment as a job of SLURM."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from walkers_dist.commands.declaring import Add, takes_overrides
from walkers_dist.config.errors import DONE

if TYPE_CHECKING:
    from walkers_dist.distributed.slurm import Wanted


def declare(add: Add) -> None:
    parser = add("submit", "submit the experiment of a configuration to SLURM", submit)
    parser.add_argument("config", metavar="CONFIG", help="a YAML file")
    takes_overrides(parser)
    takes_slurm(parser)
    parser.add_argument("--run-dir", metavar="DIR", help="where the run lies (default: runs/NAME-DATE-TIME)")
    parser.add_argument("--no-report", action="store_true", help="draw no report at the end")


def takes_slurm(parser: argparse.ArgumentParser) -> None:
    job = parser.add_argument_group("the job")
    job.add_argument("--nodes", metavar="N", type=int, default=1, help="(default: 1)")
    job.add_argument("--time", metavar="LIMIT", help="after it, the job takes its turn again and goes on")
    job.add_argument("--account", metavar="A")
    job.add_argument("--partition", metavar="P")
    job.add_argument("--gpus-per-node", metavar="G", type=int)
    job.add_argument("--sbatch", metavar="OPTION[=VALUE]", action="append", default=[], help="any other, as mem=8G")
    job.add_argument("--print", action="store_true", help="show the script; nothing is submitted")


def wanted(options: argparse.Namespace) -> Wanted:
    from walkers_dist.distributed.slurm import Wanted

    return Wanted(
        nodes=options.nodes,
        time=options.time,
        account=options.account,
        partition=options.partition,
        gpus_per_node=options.gpus_per_node,
        more=tuple(options.sbatch),
    )


def submit(options: argparse.Namespace) -> int:
    from walkers_dist.config.load import load
    from walkers_dist.distributed import slurm

    overrides = for_a_cluster(options.overrides)
    experiment = load(options.config, overrides)
    leaves = experiment.at_end == "leave" and experiment.analysts > 0
    run_dir = options.run_dir or (_to_be_made(experiment.name) if leaves else None)
    report = ["--no-report"] if options.no_report else []
    command = ["run", options.config, *overrides, *(["--run-dir", run_dir] if run_dir else []), *report]
    text = slurm.script(command, experiment, wanted(options), options.words)
    if not leaves or run_dir is None:
        return deliver(text, options)
    rest = ["analyze", run_dir, "--pending", *report]
    return deliver(text, options, slurm.later_script(rest, experiment, wanted(options), options.words))


def _to_be_made(name: str) -> str:
    """A run directory that the job which comes after the run can be told."""
    return str(Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}")


def deliver(text: str, options: argparse.Namespace, rest: str | None = None) -> int:
    """Show the script, or submit it and say what became of it; likewise the `rest`, which waits for its end."""
    from walkers_dist.distributed import slurm

    if options.print:
        print(text, end="")
        if rest:
            print("\n# The job chained to it, by sbatch --dependency=afterok:JOB:\n", rest, sep="", end="")
        return DONE
    job = slurm.submit(text)
    log = f"slurm-{job}_I.out what run I says" if "--array=" in text else f"slurm-{job}.out what it says"
    print(f"job {job}: squeue -j {job} shows how it stands, {log}, scancel {job} ends it")
    if rest:
        print(f"job {slurm.submit(rest, after=job)}: measures what is pending, when job {job} has ended")
    return DONE


def for_a_cluster(overrides: list[str]) -> list[str]:
    """The overrides of a job: it is steered from another host, unless they say otherwise."""
    if any(word.partition("=")[0].strip() in ("control", "control.bind") for word in overrides):
        return list(overrides)
    return [*overrides, "control.bind=host"]
