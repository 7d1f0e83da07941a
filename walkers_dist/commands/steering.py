"""`walkers ctl` and `replay`: a run that goes on is asked and told, and run again with what it was told."""

from __future__ import annotations

import argparse
import json
from typing import Any

from walkers_dist.commands.declaring import Add, takes_overrides, takes_run
from walkers_dist.config.errors import DONE, UserError

ENDED = ("done", "interrupted", "failed")


def declare(add: Add) -> None:
    speak = add("ctl", "ask a running experiment how it stands, or tell it what to do", ctl)
    takes_run(speak)
    speak.add_argument("word", metavar="WORD", help="status|pause|continue|stop|snapshot|set")
    takes_overrides(speak, "set: keys that may change while it runs")
    speak.add_argument("--at", type=int, metavar="STEP", help="set: the step at which it acts (default: the next)")
    speak.add_argument("--json", action="store_true", help="answer as JSON, for machines")

    again = add("replay", "run a run again, with its live changes as a schedule", replay)
    takes_run(again)
    takes_overrides(again)
    again.add_argument("--run-dir", metavar="DIR", help="where the new run lies (default: runs/NAME-DATE-TIME)")
    again.add_argument("--in-process", action="store_true", help="all walkers in this process, without a group")
    again.add_argument("--no-report", action="store_true", help="draw no report at the end")


def ctl(options: argparse.Namespace) -> int:
    answer = _answered(options)
    if not answer.get("ok"):
        raise UserError(answer.get("says", "refused"))
    print(json.dumps(answer) if options.json else answer["says"])
    return DONE


def _answered(options: argparse.Namespace) -> dict[str, Any]:
    from walkers_dist.distributed.asking import WORDS, ask
    from walkers_dist.records import run_directory

    if options.word not in WORDS:
        raise UserError(f"{options.word}: is no command; there are {', '.join(WORDS)}")
    run = run_directory.open(options.run)
    if run.read_info().get("status") not in ENDED:
        try:
            return ask(run, {"word": options.word, "changes": options.overrides, "at": options.at})
        except UserError:
            if run.read_info().get("status") not in ENDED:  # else it has just come to its end
                raise
    status = run.read_info()["status"]
    if options.word != "status":
        raise UserError(f"{options.word}: {run.path} has ended ({status}); it takes no more commands")
    from walkers_dist.api.last_rows import last_rows
    from walkers_dist.roles.standing import ended, line

    standing = ended(last_rows(run.table("results")))
    return {"ok": True, "says": line(status, standing, ()), "status": status, **standing.facts(())}


def replay(options: argparse.Namespace) -> int:
    from walkers_dist.commands.running import start
    from walkers_dist.roles.request import Request

    overrides, report = tuple(options.overrides), not options.no_report
    return start(Request(None, overrides, options.run_dir, report=report, replay=options.run), options.in_process)
