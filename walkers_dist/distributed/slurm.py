"""Jobs of SLURM: the script of a run, for one node, several nodes, or an array of runs, and its submission."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources

from walkers_dist.config.errors import UserError
from walkers_dist.config.schema import Experiment
from walkers_dist.distributed.plan import processes_for

WARNING = "B:USR1@60"  # to the script, so many seconds before the time limit, and up to 60 earlier


@dataclass(frozen=True)
class Wanted:
    """What a job asks SLURM for; `more` are other options of sbatch, as `NAME=VALUE` or `NAME`."""

    nodes: int = 1
    time: str | None = None
    account: str | None = None
    partition: str | None = None
    gpus_per_node: int | None = None
    more: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `UserError` where an option cannot be."""
        if self.nodes < 1:
            raise UserError(f"--nodes {self.nodes}: must be at least 1")
        if self.gpus_per_node is not None and self.gpus_per_node < 1:
            raise UserError(f"--gpus-per-node {self.gpus_per_node}: must be at least 1; leave it out for none")
        words = {"--time": self.time, "--account": self.account, "--partition": self.partition}
        words |= {"--sbatch": None} | {f"--sbatch {word}": word for word in self.more}
        for option, word in words.items():
            if word is not None and (not word.lstrip("-").strip() or not word.isprintable()):
                raise UserError(f"{option} {word!r}: must be a word that sbatch can read")


def script(
    command: Sequence[str], experiment: Experiment, wanted: Wanted, said: Sequence[str], array: str | None = None
) -> str:
    """The script of a job that runs `walkers COMMAND` for this experiment; `said`: the words that asked for it.

    `array`: the numbers of its tasks, each of which runs the command. Raises `UserError` where it asks for too few
    GPUs, or for something that cannot be.
    """
    wanted.check()
    gpus = wanted.nodes * (wanted.gpus_per_node or 0)
    device = "cpu" if experiment.device == "auto" and not gpus else experiment.device
    processes = processes_for(experiment.walkers, experiment.walkers_per_process, gpus, device)
    options = _options(wanted, experiment, ranks=1 + processes + experiment.analysts, array=array)
    return _filled("several_nodes" if wanted.nodes > 1 else "one_node", command, options, said)


def later_script(command: Sequence[str], experiment: Experiment, wanted: Wanted, said: Sequence[str]) -> str:
    """The script of a job of one process, for the same account and as long a time."""
    alone = replace(wanted, nodes=1, gpus_per_node=1 if wanted.gpus_per_node else None)
    return _filled("later", command, _options(alone, experiment, ranks=1, array=None), said)


def _filled(template: str, command: Sequence[str], options: Mapping[str, str], said: Sequence[str]) -> str:
    parts = {
        "said": shlex.join(["walkers", *said]).replace("\n", " "),
        "directives": "\n".join(f"#SBATCH --{name}" + (f"={_quoted(v)}" if v else "") for name, v in options.items()),
        "warning": _template("warning"),
        "binding": " --gpu-bind=none" if "gpus-per-node" in options else "",
        "command": shlex.join([*_walkers(), *command]).replace(shlex.quote(TASK), TASK),
        "waiting": _template("waiting"),
        "job": "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" if "array" in options else "$SLURM_JOB_ID",
    }
    text = _template(template)
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    return text + "\n"


TASK = '"$SLURM_ARRAY_TASK_ID"'
"""In a command, the number of the array's task that runs it."""


def _options(wanted: Wanted, experiment: Experiment, ranks: int, array: str | None) -> Mapping[str, str]:
    """The options of sbatch, in the order in which they are shown; those of the user come last, and replace ours."""
    on_node = -(-ranks // wanted.nodes)  # ranks above those needed leave at once
    tasks = {"ntasks-per-node": str(on_node), "cpus-per-task": str(experiment.threads)}
    if wanted.nodes == 1:
        tasks = {"ntasks": "1", "cpus-per-task": str(ranks * experiment.threads)}
    asked = {
        "job-name": experiment.name,
        "array": array,
        "nodes": str(wanted.nodes),
        **tasks,
        "gpus-per-node": str(wanted.gpus_per_node) if wanted.gpus_per_node else None,
        "time": wanted.time,
        "account": wanted.account,
        "partition": wanted.partition,
        "signal": WARNING,
        "open-mode": "append",
    }
    options = {name: value for name, value in asked.items() if value is not None} | {"requeue": ""}
    for word in wanted.more:
        name, _, value = word.lstrip("-").partition("=")
        options.pop(name, None)
        options[name] = value
    if "no-requeue" in options:
        options.pop("requeue", None)
    return options


def _quoted(value: str) -> str:
    return shlex.quote(value) if any(character in value for character in " \t'\"\\#") else value


def _walkers() -> list[str]:
    """The command `walkers`, by the interpreter that this process has."""
    found = shutil.which("python")
    same = found is not None and os.path.realpath(found) == os.path.realpath(sys.executable)
    same = same and os.path.dirname(found or "") == os.path.dirname(sys.executable)
    return ["python" if same else sys.executable, "-m", "walkers_dist"]


def _template(name: str) -> str:
    text = resources.files("walkers_dist.distributed").joinpath("templates", f"{name}.sh").read_text(encoding="utf-8")
    return text.rstrip("\n")


def submit(text: str, after: str | None = None) -> str:
    """Submit a script, to begin when the job `after` has ended well; returns the number of the new job.

    Raises `UserError` where there is no SLURM, or it refuses.
    """
    if shutil.which("sbatch") is None:
        raise UserError("sbatch: there is no SLURM on this machine; --print shows the script and submits nothing")
    chained = [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"] if after else []
    answer = subprocess.run(["sbatch", "--parsable", *chained], input=text.encode(), capture_output=True, check=False)
    if answer.returncode:
        lines = answer.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {answer.returncode}"]
        raise UserError(f"sbatch refuses the job: {lines[-1].removeprefix('sbatch: error: ')}")
    return answer.stdout.decode().strip().partition(";")[0]
